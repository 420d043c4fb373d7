"""One file a service: the same network behind each server, asked by POST /predict with 128 numbers in JSON, answering with 16.

A file has `REQUIREMENTS`, what pip is to install for it, and `START`, the arguments of its Python, with `{port}` in place of the
port; all are read, not imported, so they are literal lists. A server whose body is not just the list of numbers has `BODY`, with
`%s` where the list goes. It runs in the folder of the bench, with one thread for the algebra of numpy, and ends on SIGTERM.
"""
