package secret

import (
	"crypto/sha256"
	"encoding/hex"
)

// fingerprintDomain makes fingerprints differ from plain hashes, which may be published elsewhere
// or listed in tables.
const fingerprintDomain = "caddy-ip-reputation secret fingerprint v1\x00"

// Fingerprint returns a name for a key that may be shown in logs, metrics and on pages: the first
// eight hexadecimal digits of a SHA-256 of the value. It is the same on every instance and after a
// restart, so that logs can be compared. The empty value has none. Two different keys have the same
// fingerprint with a probability of one in four billion.
//
// The fingerprint of a random key reveals nothing usable: it shows whether two keys are equal, and
// leaves 2^96 of 2^128 possible keys. The fingerprint of a password that a person chose reveals
// nearly everything: an attacker can test a dictionary against it offline. Such values need the
// option Hide.
func Fingerprint(value string) string {
	if value == "" {
		return ""
	}
	sum := sha256.Sum256([]byte(fingerprintDomain + value))
	return hex.EncodeToString(sum[:4])
}
