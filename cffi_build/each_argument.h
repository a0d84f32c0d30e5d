/*
 * What C's preprocessor lacks: a macro applied to each of a list's arguments.
 *
 *   EACH(F, a, b, c)         F(0, a) F(1, b) F(2, c)
 *   COMMAS(F, a, b, c)       F(0, a), F(1, b), F(2, c)
 *   PARAMETERS(F, a, b, c)   the same; void for an empty list
 *   COUNT(a, b, c)           3; up to 14
 */
#ifndef XDIAG_EACH_ARGUMENT_H
#define XDIAG_EACH_ARGUMENT_H

#define COUNT(...) COUNT_(0, ##__VA_ARGS__, 14, 13, 12, 11, 10, 9, 8, 7, 6, 5, 4, 3, 2, 1, 0)
#define COUNT_(a0, a1, a2, a3, a4, a5, a6, a7, a8, a9, a10, a11, a12, a13, a14, count, ...) count
#define JOINED(a, b) JOINED_(a, b)
#define JOINED_(a, b) a##b

#define EACH(F, ...) JOINED(EACH_, COUNT(__VA_ARGS__))(F, ##__VA_ARGS__)
#define COMMAS(F, ...) JOINED(COMMAS_, COUNT(__VA_ARGS__))(F, ##__VA_ARGS__)
#define PARAMETERS(F, ...) JOINED(PARAMETERS_, COUNT(__VA_ARGS__))(F, ##__VA_ARGS__)

/* clang-format off */
#define EACH_0(F)
#define EACH_1(F, a) F(0, a)
#define EACH_2(F, a, b) F(0, a) F(1, b)
#define EACH_3(F, a, b, c) F(0, a) F(1, b) F(2, c)
#define EACH_4(F, a, b, c, d) F(0, a) F(1, b) F(2, c) F(3, d)
#define EACH_5(F, a, b, c, d, e) F(0, a) F(1, b) F(2, c) F(3, d) F(4, e)
#define EACH_6(F, a, b, c, d, e, f) F(0, a) F(1, b) F(2, c) F(3, d) F(4, e) F(5, f)
#define EACH_7(F, a, b, c, d, e, f, g) F(0, a) F(1, b) F(2, c) F(3, d) F(4, e) F(5, f) F(6, g)
#define EACH_8(F, a, b, c, d, e, f, g, h) F(0, a) F(1, b) F(2, c) F(3, d) F(4, e) F(5, f) F(6, g) F(7, h)
#define EACH_9(F, a, b, c, d, e, f, g, h, i) F(0, a) F(1, b) F(2, c) F(3, d) F(4, e) F(5, f) F(6, g) F(7, h) F(8, i)
#define EACH_10(F, a, b, c, d, e, f, g, h, i, j) F(0, a) F(1, b) F(2, c) F(3, d) F(4, e) F(5, f) F(6, g) F(7, h) F(8, i) F(9, j)
#define EACH_11(F, a, b, c, d, e, f, g, h, i, j, k) F(0, a) F(1, b) F(2, c) F(3, d) F(4, e) F(5, f) F(6, g) F(7, h) F(8, i) F(9, j) F(10, k)
#define EACH_12(F, a, b, c, d, e, f, g, h, i, j, k, l) F(0, a) F(1, b) F(2, c) F(3, d) F(4, e) F(5, f) F(6, g) F(7, h) F(8, i) F(9, j) F(10, k) F(11, l)
#define EACH_13(F, a, b, c, d, e, f, g, h, i, j, k, l, m) F(0, a) F(1, b) F(2, c) F(3, d) F(4, e) F(5, f) F(6, g) F(7, h) F(8, i) F(9, j) F(10, k) F(11, l) F(12, m)
#define EACH_14(F, a, b, c, d, e, f, g, h, i, j, k, l, m, n) F(0, a) F(1, b) F(2, c) F(3, d) F(4, e) F(5, f) F(6, g) F(7, h) F(8, i) F(9, j) F(10, k) F(11, l) F(12, m) F(13, n)
#define COMMAS_0(F)
#define COMMAS_1(F, a) F(0, a)
#define COMMAS_2(F, a, b) F(0, a), F(1, b)
#define COMMAS_3(F, a, b, c) F(0, a), F(1, b), F(2, c)
#define COMMAS_4(F, a, b, c, d) F(0, a), F(1, b), F(2, c), F(3, d)
#define COMMAS_5(F, a, b, c, d, e) F(0, a), F(1, b), F(2, c), F(3, d), F(4, e)
#define COMMAS_6(F, a, b, c, d, e, f) F(0, a), F(1, b), F(2, c), F(3, d), F(4, e), F(5, f)
#define COMMAS_7(F, a, b, c, d, e, f, g) F(0, a), F(1, b), F(2, c), F(3, d), F(4, e), F(5, f), F(6, g)
#define COMMAS_8(F, a, b, c, d, e, f, g, h) F(0, a), F(1, b), F(2, c), F(3, d), F(4, e), F(5, f), F(6, g), F(7, h)
#define COMMAS_9(F, a, b, c, d, e, f, g, h, i) F(0, a), F(1, b), F(2, c), F(3, d), F(4, e), F(5, f), F(6, g), F(7, h), F(8, i)
#define COMMAS_10(F, a, b, c, d, e, f, g, h, i, j) F(0, a), F(1, b), F(2, c), F(3, d), F(4, e), F(5, f), F(6, g), F(7, h), F(8, i), F(9, j)
#define COMMAS_11(F, a, b, c, d, e, f, g, h, i, j, k) F(0, a), F(1, b), F(2, c), F(3, d), F(4, e), F(5, f), F(6, g), F(7, h), F(8, i), F(9, j), F(10, k)
#define COMMAS_12(F, a, b, c, d, e, f, g, h, i, j, k, l) F(0, a), F(1, b), F(2, c), F(3, d), F(4, e), F(5, f), F(6, g), F(7, h), F(8, i), F(9, j), F(10, k), F(11, l)
#define COMMAS_13(F, a, b, c, d, e, f, g, h, i, j, k, l, m) F(0, a), F(1, b), F(2, c), F(3, d), F(4, e), F(5, f), F(6, g), F(7, h), F(8, i), F(9, j), F(10, k), F(11, l), F(12, m)
#define COMMAS_14(F, a, b, c, d, e, f, g, h, i, j, k, l, m, n) F(0, a), F(1, b), F(2, c), F(3, d), F(4, e), F(5, f), F(6, g), F(7, h), F(8, i), F(9, j), F(10, k), F(11, l), F(12, m), F(13, n)
#define PARAMETERS_0(F) void
#define PARAMETERS_1 COMMAS_1
#define PARAMETERS_2 COMMAS_2
#define PARAMETERS_3 COMMAS_3
#define PARAMETERS_4 COMMAS_4
#define PARAMETERS_5 COMMAS_5
#define PARAMETERS_6 COMMAS_6
#define PARAMETERS_7 COMMAS_7
#define PARAMETERS_8 COMMAS_8
#define PARAMETERS_9 COMMAS_9
#define PARAMETERS_10 COMMAS_10
#define PARAMETERS_11 COMMAS_11
#define PARAMETERS_12 COMMAS_12
#define PARAMETERS_13 COMMAS_13
#define PARAMETERS_14 COMMAS_14
/* clang-format on */

#endif
