package webhook

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"time"
)

// secretPrefix marks a secret in base64.
const secretPrefix = "whsec_"

// minSecret is the minimum length of a secret in bytes; the specification recommends 24 to 64.
const minSecret = 16

// CheckSecret returns an error if a secret has the prefix but is not base64, or if it is short
// enough to be guessed.
func CheckSecret(secret string) error {
	key, err := signingKey(secret)
	if err == nil && len(key) < minSecret {
		err = fmt.Errorf("a secret has %d bytes, which can be guessed: "+
			"use 24 or more, as `openssl rand -base64 32` makes them",
			len(key))
	}
	return err
}

// signingKey returns the key of a secret: with the prefix, the decoded base64, otherwise the bytes
// of the secret itself.
func signingKey(secret string) ([]byte, error) {
	text, ok := strings.CutPrefix(secret, secretPrefix)
	if !ok {
		return []byte(secret), nil
	}
	key, err := base64.StdEncoding.DecodeString(text)
	if err != nil || len(key) == 0 {
		return nil, fmt.Errorf("a secret begins with %s, but is not base64 behind it", secretPrefix)
	}
	return key, nil
}

// sign sets the headers of one attempt, with one signature per secret. A receiver that knows one of
// the secrets accepts it.
func (s *Sender) sign(h http.Header, m Message, now time.Time) *failure {
	timestamp := strconv.FormatInt(now.Unix(), 10)
	var signatures []string
	for _, secret := range s.options.Secrets() {
		key, err := signingKey(secret)
		if err != nil {
			return &failure{
				cause: "secret", text: err.Error(),
				cure: "correct the secret: the new one is used with the next attempt",
			}
		}
		signatures = append(signatures, signature(key, m.ID, timestamp, m.Body))
	}
	if len(signatures) == 0 {
		return &failure{
			cause: "secret", text: "there is no secret to sign with yet",
			cure: "see why its store does not give one",
		}
	}
	h.Set("Webhook-Id", m.ID)
	h.Set("Webhook-Timestamp", timestamp)
	h.Set("Webhook-Signature", strings.Join(signatures, " "))
	return nil
}

// signature signs an attempt with HMAC-SHA256.
func signature(key []byte, id, timestamp string, body []byte) string {
	mac := hmac.New(sha256.New, key)
	_, _ = mac.Write([]byte(id + "." + timestamp + ".")) // never fails
	_, _ = mac.Write(body)
	return "v1," + base64.StdEncoding.EncodeToString(mac.Sum(nil))
}
