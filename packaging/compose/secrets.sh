#!/bin/sh
# Makes the secrets of packaging/compose.yaml, once: those that are there stay. Needs openssl.
#
#   sh packaging/compose/secrets.sh [FOLDER]
set -eu
cd "$(dirname "$0")"
folder=${1:-secrets}
mkdir -p "$folder"
# The files are bound into the containers as they are, and read there by users this machine does not know: the folder keeps others here out.
chmod 700 "$folder"
umask 022
cd "$folder"

for name in ops-token redis-password seal-key epj-secret fhir-secret helseid-admin; do
    [ -s "$name" ] || openssl rand -base64 32 | tr -d '\n' >"$name"
done

# Redis keeps the hash of the password. `health` may ask whether it is there and nothing else.
hash=$(openssl dgst -sha256 -r <redis-password | cut -d ' ' -f 1)
cat >redis-users.acl <<EOF
user default off
user health on nopass -@all +ping
user helsebro on #$hash ~{helsebro:* &helsebro:* -@all +evalsha +eval +mget +get +getrange +set +del +zadd +zrem +zscore +zrangebylex +zrangebyscore +publish +subscribe +wait +info +role +cluster|slots
EOF

# Our key at the mock of HelseID: P-384. The private number and the point stand at fixed places of its DER form (RFC 5915).
if [ ! -s helseid.jwk ] || [ ! -s helseid.toml ]; then
    openssl ecparam -name secp384r1 -genkey -noout -outform DER -out helseid.der
    encoded() { openssl base64 -A | tr '+/' '-_' | tr -d '='; }
    d=$(head -c 56 helseid.der | tail -c 48 | encoded)
    x=$(tail -c 96 helseid.der | head -c 48 | encoded)
    y=$(tail -c 48 helseid.der | encoded)
    rm helseid.der
    public="\"kty\":\"EC\",\"crv\":\"P-384\",\"alg\":\"ES384\",\"kid\":\"compose\",\"x\":\"$x\",\"y\":\"$y\""
    printf '{%s,"d":"%s"}' "$public" "$d" >helseid.jwk
    cat >helseid.toml <<EOF
# The mock of HelseID of packaging/compose.yaml, and ourselves as its client.
issuer = "http://127.0.0.1:9403"
listen = "0.0.0.0:9403"
listen_on_network = true
admin_listen = "127.0.0.1:9404"
admin_secret = { file = "/run/secrets/helseid-admin" }

[[client]]
client_id = "0b5f7a52-6f0e-4c39-8d0b-5a2a4c6e9d10"
name = "helsebro"
tenancy = { own = "376213609" }
grants = ["authorization_code", "refresh_token"]
dpop = "required"
refresh = "one_time"
scopes = "openid profile offline_access helseid://scopes/identity/pid helseid://scopes/identity/pid_pseudonym helseid://scopes/identity/security_level helseid://scopes/hpr/hpr_number fjord:epj-api/exchange fjord:epj-api/read"
redirect_uris = ["http://127.0.0.1:9400/upstream/callback"]
post_logout_redirect_uris = ["http://127.0.0.1:9400/logout"]
backchannel_logout_uri = "http://127.0.0.1:9400/upstream/logout"
jwks = { keys = [{ kty = "EC", crv = "P-384", alg = "ES384", kid = "compose", x = "$x", y = "$y" }] }
EOF
fi
