"""The memory server: the tools of a palace over MCP, by stdio or streamable HTTP.

`tools` is the one list of what it can do; everything that keeps a palace whole is in the library.
It needs the official `mcp` SDK, which the rest of the library does not.
"""
