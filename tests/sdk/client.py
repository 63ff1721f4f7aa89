"""Cloudflare's Python client against the simulated Cloudflare.

Arguments: base URL, token, reader's token, zone name. Prints "done" at the end.
"""

import sys

import cloudflare
from cloudflare import Cloudflare

base_url, token, reader, zone_name = sys.argv[1:]


def client(api_token, retries=0):
    return Cloudflare(api_token=api_token, base_url=base_url, max_retries=retries)


def codes(error):
    return [e.code for e in error.errors]


def fails(kind, call):
    try:
        call()
    except kind as error:
        assert type(error) is kind, type(error)
        return error
    raise AssertionError(f"{kind.__name__} expected")


cf = client(token)

assert cf.user.tokens.verify().status == "active"

# More zones than fit on a page: the client fetches further pages by itself.
zones = list(cf.zones.list(per_page=5))
assert len(zones) == 12, len(zones)
[zone] = list(cf.zones.list(name=zone_name))
assert zone.name == zone_name and zone.account.id

listed = list(cf.dns.records.list(zone_id=zone.id, name={"exact": f"www.{zone_name}"}, type="A"))
[www] = listed
assert www.content == "192.0.2.10" and www.proxied is False and www.ttl == 60
assert www.modified_on.tzinfo and www.comment == "kept"

patched = cf.dns.records.edit(
    www.id, zone_id=zone.id, type="A", name=www.name, ttl=www.ttl, content="198.51.100.20"
)
assert patched.content == "198.51.100.20" and patched.comment == "kept"
assert patched.modified_on > www.modified_on
assert cf.dns.records.get(www.id, zone_id=zone.id).content == "198.51.100.20"

made = cf.dns.records.create(
    zone_id=zone.id, type="AAAA", name="py", ttl=1, content="2001:db8::1", proxied=True
)
assert made.name == f"py.{zone_name}" and made.proxied
batch = cf.dns.records.batch(
    zone_id=zone.id,
    patches=[{"id": www.id, "content": "192.0.2.10"}],
    posts=[{"type": "A", "name": "batch-py", "ttl": 1, "content": "203.0.113.9"}],
)
assert batch.patches[0].content == "192.0.2.10"
deleted = cf.dns.records.batch(zone_id=zone.id, deletes=[{"id": batch.posts[0].id}])
assert deleted.deletes[0].id == batch.posts[0].id
assert cf.dns.records.delete(made.id, zone_id=zone.id).id == made.id

nobody = "0" * 32
error = fails(cloudflare.NotFoundError, lambda: cf.dns.records.get(nobody, zone_id=zone.id))
assert codes(error) == [81044], codes(error)
error = fails(
    cloudflare.BadRequestError,
    lambda: cf.dns.records.create(
        zone_id=zone.id, type="CNAME", name="www", ttl=1, content="t.example.net"
    ),
)
assert codes(error) == [81053], codes(error)
error = fails(
    cloudflare.PermissionDeniedError,
    lambda: client(reader).dns.records.edit(
        www.id, zone_id=zone.id, type="A", name=www.name, ttl=1, content="192.0.2.66"
    ),
)
assert codes(error) == [10000], codes(error)
fails(cloudflare.AuthenticationError, lambda: client("unknown").user.tokens.verify())

# The next two lists of records are throttled.
throttled = lambda c: list(c.dns.records.list(zone_id=zone.id, name={"exact": "throttled.test"}))
error = fails(cloudflare.RateLimitError, lambda: throttled(cf))
assert codes(error) == [971] and error.response.headers["retry-after"] == "1"
assert throttled(client(token, retries=1)) == []
print("done")
