"""HTTP as uvicorn reads it, with the API's form of an error for what can't be read."""

from __future__ import annotations

from uuid import uuid4

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from volant.web.api.problem import problem


class HttpProtocol(HttpToolsProtocol):
    """uvicorn's, which says in plain text that it couldn't read a request."""

    def send_400_response(self, msg: str) -> None:
        """Answer and close; `msg` is uvicorn's word for the fault."""
        answer = problem(
            "invalid_input",
            status=400,
            what=msg,
            code="http.unreadable",
            fix="Send HTTP/1.1, with an address and headers of at most 65 536 bytes.",
            details={},
            request_id=uuid4().hex,
        )
        head = b"".join(b"%s: %s\r\n" % pair for pair in answer.raw_headers)
        line = b"HTTP/1.1 400 Bad Request\r\nconnection: close\r\n"
        self.transport.write(line + head + b"\r\n" + bytes(answer.body))
        self.transport.close()
