"""One file a service: the same network behind each server, asked by POST /predict with 128 numbers in JSON, answering with 16.

A file has `REQUIREMENTS`, what pip is to install for it, and `START`, the arguments of its Python, with `{port}` in place of the
port. If its environment needs more, it has `ENVIRON`; if its body is not just the list of numbers, `BODY`, with `%s` where the
list goes. These are read, not imported, so they are written out. A server runs in the folder of the bench, with one thread for the
algebra of numpy, and ends on SIGTERM.
"""
