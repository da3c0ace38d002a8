# A mail server for tests: aiosmtpd on a free port of loopback, with STARTTLS, and a user where one is asked for.
# Prints its port, then each message as one line of JSON.
#
#   smtpd.py CERTIFICATE KEY plain|tls|auth
import asyncio, json, ssl, sys
from aiosmtpd.smtp import SMTP, AuthResult, LoginPassword


class Handler:
    refuse = set()

    async def handle_RCPT(self, server, session, envelope, address, options):
        if address.startswith("nobody@"):
            return "550 5.1.1 no such user"
        if address.startswith("busy@"):
            return "451 4.3.0 try again later"
        envelope.rcpt_tos.append(address)
        return "250 OK"

    async def handle_DATA(self, server, session, envelope):
        print(json.dumps({
            "from": envelope.mail_from, "to": envelope.rcpt_tos, "content": envelope.content.decode(),
            "tls": session.ssl is not None, "user": session.auth_data.login.decode() if session.auth_data else None,
        }), flush=True)
        return "250 accepted"


def authenticate(server, session, envelope, mechanism, data):
    good = isinstance(data, LoginPassword) and (data.login, data.password) == (b"ops", b"pa55 word")
    return AuthResult(success=good, handled=False, auth_data=data if good else None)


async def main():
    certificate, key, mode = sys.argv[1:]
    context = None
    if mode != "plain":
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        context.load_cert_chain(certificate, key)

    def factory():
        return SMTP(Handler(), hostname="localhost", tls_context=context, require_starttls=mode != "plain",
                    authenticator=authenticate, auth_required=mode == "auth")

    server = await asyncio.get_running_loop().create_server(factory, "127.0.0.1", 0)
    print(server.sockets[0].getsockname()[1], flush=True)
    # Ends with whoever started it.
    await asyncio.get_running_loop().run_in_executor(None, sys.stdin.read)


asyncio.run(main())
