"""What each call does with a handle that is no live stream, by version of the runtime: measured."""
