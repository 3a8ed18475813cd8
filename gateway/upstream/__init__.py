"""The upstream client: HTTP/1.1 to model servers, over connections of our own.

General clients cost more per request than the whole rest of the gateway (measured: 10 to 20 times), and they hide what
a gateway must decide: when a byte was sent, whether a retry is safe, how fast a cancelled call reaches the server.
"""
