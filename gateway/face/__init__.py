"""The HTTP surface that apps see: bytes in, a request view out; answers and errors in OpenAI's shapes."""
