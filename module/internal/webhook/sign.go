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

// secretPrefix marks a secret that is written in base64.
const secretPrefix = "whsec_"

// leastSecret is how many bytes a secret must have at least; the specification recommends 24 to 64.
const leastSecret = 16

// CheckSecret returns an error if a secret has the prefix of base64 but is not base64, or if it is short enough to be guessed.
func CheckSecret(secret string) error {
	key, err := signingKey(secret)
	if err == nil && len(key) < leastSecret {
		err = fmt.Errorf("a secret has %d bytes, which can be guessed: use 24 or more, as `openssl rand -base64 32` makes them", len(key))
	}
	return err
}

// signingKey returns the key of a secret: decoded base64 behind the prefix, else the bytes of the secret itself.
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

// sign sets the headers of one attempt. Each secret makes a signature, so that a receiver that knows one of them accepts it.
func (s *Sender) sign(h http.Header, m Message, now time.Time) *failure {
	timestamp := strconv.FormatInt(now.Unix(), 10)
	var signatures []string
	for _, secret := range s.options.Secrets() {
		key, err := signingKey(secret)
		if err != nil {
			return &failure{cause: "secret", text: err.Error(), cure: "correct the secret: the new one is used with the next attempt"}
		}
		signatures = append(signatures, signature(key, m.ID, timestamp, m.Body))
	}
	if len(signatures) == 0 {
		return &failure{cause: "secret", text: "there is no secret to sign with yet", cure: "see why its store does not give one"}
	}
	h.Set("Webhook-Id", m.ID)
	h.Set("Webhook-Timestamp", timestamp)
	h.Set("Webhook-Signature", strings.Join(signatures, " "))
	return nil
}

// signature signs an attempt with HMAC-SHA256.
func signature(key []byte, id, timestamp string, body []byte) string {
	mac := hmac.New(sha256.New, key)
	_, _ = mac.Write([]byte(id + "." + timestamp + ".")) // it never fails
	_, _ = mac.Write(body)
	return "v1," + base64.StdEncoding.EncodeToString(mac.Sum(nil))
}
