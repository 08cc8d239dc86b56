"""The lab's commands: thin, each calls one library function."""
