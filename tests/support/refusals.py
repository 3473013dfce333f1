"""What the sandbox answers to a submission that it refuses, as rules for it."""


def error(message, code):
    return {"error": {"message": message, "type": "new_api_error", "code": code}}


NO_CHANNEL = {"no_channel": 503}
NO_CHANNEL_LEFT = {"no_channel": 500}
RETIRED = {"retired": 404}
EMPTY = {"status": 403, "body": error("The quota is not enough", "insufficient_user_quota")}
MODERATED = {"status": 400, "body": error("PUBLIC_ERROR_UNSAFE: refused by the safety policy", "moderation")}
BAD_REQUEST = {"status": 400, "body": error("The prompt is not to our liking", "invalid_request")}
WRONG_KEY = {"status": 401, "body": error("The key is wrong", "invalid_api_key")}
SERVER_ERROR = {"accept": True, "status": 500, "body": error("upstream broke", "INTERNAL")}
BAD_GATEWAY = {"status": 502, "text": "<html>502 Bad Gateway</html>"}
LOST = {"reset": "after"}
FAILED = {"fail": {"code": "upstream_error", "message": "upstream broke"}}
