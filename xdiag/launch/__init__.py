"""Starting a command under our audit library, and seeing it through."""
