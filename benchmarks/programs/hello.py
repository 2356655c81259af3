"""Hello as bare as uvicorn serves it: `app` plain ASGI, `api` FastAPI.

    python hello.py app|api PORT

uvloop and httptools, one process, no access log.
"""

import sys

import uvicorn


async def app(scope, receive, send):
    body = b'{"hello":"world"}'
    head = [(b"content-type", b"application/json"), (b"content-length", b"%d" % len(body))]
    await send({"type": "http.response.start", "status": 200, "headers": head})
    await send({"type": "http.response.body", "body": body})


def api():
    from fastapi import FastAPI

    made = FastAPI()

    @made.get("/")
    def hello():
        return {"hello": "world"}

    return made


if __name__ == "__main__":
    kind, port = sys.argv[1:]
    uvicorn.run(
        app if kind == "app" else api(),
        port=int(port),
        loop="uvloop",
        http="httptools",
        lifespan="off",
        access_log=False,
        log_level="warning",
    )
