"""A mail server (aiosmtpd) that writes each mail as a line of JSON, read by Python's own MIME parser.

Arguments: port, tls|starttls|none, certificate, key, user, password (both empty: nobody is asked), file of the mails,
file with what is answered instead of taking a mail (an SMTP answer a line, used up from the top).
"""

import asyncio
import email
import email.policy
import json
import ssl
import sys

from aiosmtpd.smtp import SMTP, AuthResult

port, mode, cert, key, user, password, mails, faults = sys.argv[1:]


class Handler:
    async def handle_RCPT(self, server, session, envelope, address, options):
        if address.startswith("refused@"):
            return "550 5.1.1 no such user here"
        envelope.rcpt_tos.append(address)
        return "250 OK"

    async def handle_DATA(self, server, session, envelope):
        with open(faults) as file:
            answers = file.read().splitlines()
        message = email.message_from_bytes(envelope.content, policy=email.policy.default)
        plain, html = message.get_body(("plain",)), message.get_body(("html",))
        # Strictly: a text that is not in its charset ends this.
        text = lambda part: part.get_content(errors="strict") if part else None
        mail = {
            "from": envelope.mail_from,
            "to": envelope.rcpt_tos,
            "headers": {name.lower(): str(value) for name, value in message.items()},
            "defects": [str(d) for part in message.walk() for d in part.defects],
            "kind": message.get_content_type(),
            "plain": text(plain),
            "html": text(html),
            "authenticated": bool(session.authenticated),
            "encrypted": mode == "tls" or session.ssl is not None,
            "longest_line": max(map(len, envelope.content.split(b"\r\n"))),
            "answer": answers[0] if answers else "250 OK",
        }
        with open(faults, "w") as file:
            file.write("\n".join(answers[1:]))
        with open(mails, "a") as file:
            file.write(json.dumps(mail) + "\n")
        return mail["answer"]


def authenticate(server, session, envelope, mechanism, data):
    right = data.login == user.encode() and data.password == password.encode()
    return AuthResult(success=right, handled=False)


async def main():
    context = None
    if mode != "none":
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(cert, key)

    def session():
        return SMTP(
            Handler(),
            hostname="mail.test",
            enable_SMTPUTF8=True,
            authenticator=authenticate,
            auth_required=bool(user),
            # It knows of STARTTLS only.
            auth_require_tls=mode == "starttls",
            tls_context=context if mode == "starttls" else None,
            require_starttls=mode == "starttls",
        )

    loop = asyncio.get_running_loop()
    server = await loop.create_server(session, "127.0.0.1", int(port), ssl=context if mode == "tls" else None)
    await server.serve_forever()


asyncio.run(main())
