package secret

import (
	"crypto/sha256"
	"encoding/hex"
)

// fingerprintDomain makes the fingerprint of a value another one than the plain hash of it, which may be published
// elsewhere, or stand in a table of hashes.
const fingerprintDomain = "caddy-ip-reputation secret fingerprint v1\x00"

// Fingerprint names a key where the key itself must not be, in logs, metrics and on pages: eight hexadecimal digits, the
// first of a SHA-256 of the value. It is the same on every instance and after a restart, so that two logs can be compared;
// the empty value has none. Of two different keys one pair in four billion has the same one.
//
// Of a key that a service has made up at random it reveals nothing usable: it tells that two keys are the same one, and of
// the 2^128 keys that there may be, it leaves 2^96. Of a password that a person has made up it reveals nearly all: whoever
// sees the fingerprint can try a dictionary against it, unseen and fast, and is left with hardly more than the right word.
// That is what the option Hide is for.
func Fingerprint(value string) string {
	if value == "" {
		return ""
	}
	sum := sha256.Sum256([]byte(fingerprintDomain + value))
	return hex.EncodeToString(sum[:4])
}
