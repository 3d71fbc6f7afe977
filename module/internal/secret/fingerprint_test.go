package secret

import (
	"crypto/sha256"
	"encoding/hex"
	"regexp"
	"testing"

	"pgregory.net/rapid"
)

func TestFingerprint(t *testing.T) {
	tests := map[string]string{ // printf 'caddy-ip-reputation secret fingerprint v1\0%s' VALUE | sha256sum | cut -c1-8
		"":                  "",
		"k1":                "5fbbf3d4",
		"s3cret with blank": "5660e930",
	}
	for value, want := range tests {
		if got := Fingerprint(value); got != want {
			t.Errorf("of %q: %q, want %q: it must stay the same, logs of last year are compared with it", value, got, want)
		}
	}
}

func TestFingerprintProperties(t *testing.T) {
	form := regexp.MustCompile(`^[0-9a-f]{8}$`)
	rapid.Check(t, func(t *rapid.T) {
		value := rapid.StringN(1, -1, 200).Draw(t, "value")
		got := Fingerprint(value)
		if !form.MatchString(got) {
			t.Fatalf("%q is not eight hexadecimal digits", got)
		}
		plain := sha256.Sum256([]byte(value))
		if got == hex.EncodeToString(plain[:4]) {
			t.Fatalf("%q is the plain hash of the value", got)
		}
		if other := value + "x"; Fingerprint(other) == got {
			t.Fatalf("%q and %q have the same", value, other)
		}
	})
}
