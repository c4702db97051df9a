"""HTTP/1.1 on uvloop and httptools: the server, the pool of upstream connections, and the relay of bytes between them."""
