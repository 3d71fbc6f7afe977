package sentry

import (
	"strings"
	"testing"
	"unicode/utf8"
)

func TestRedact(t *testing.T) {
	for text, want := range map[string]string{
		`Get "https://api.example.com/check?key=S3CRET&ip=192.0.2.1": timeout`: `Get "https://api.example.com/check?[hidden]": timeout`,
		`redis://user:S3CRET@redis-1:6379/0`:                                   `redis://[hidden]@redis-1:6379/0`,
		`postgres://u:p@ss:S3CRET@db/app?sslmode=disable`:                      `postgres://[hidden]@db/app?[hidden]`,
		`https://S3CRET@o1.ingest.example.com/42`:                              `https://[hidden]@o1.ingest.example.com/42`,
		`host=db user=app password=S3CRET dbname=x`:                            `host=db user=app password=[hidden] dbname=x`,
		`password='S3 CRET' x`:                                                 `password=[hidden] x`,
		`u:S3CRET@tcp(db:3306)/app`:                                            `[hidden]@tcp(db:3306)/app`,
		`Authorization: Bearer S3CRET.S3CRET`:                                  `Authorization: [hidden]`,
		`sent Bearer S3CRETS3CRET to`:                                          `sent Bearer [hidden] to`,
		`map[Authorization:[S3CRET] Host:[a]]`:                                 `map[Authorization:[[hidden]] Host:[a]]`,
		`{"password": "S3CRET", "user": "a"}`:                                  `{"password": [hidden], "user": "a"}`,
		`Cookie: session=S3CRET; other=S3CRET`:                                 `Cookie: [hidden]`,
		`X-Api-Key: S3CRET`:                                                    `X-Api-Key: [hidden]`,
		`aws_secret_access_key=S3CRET`:                                         `aws_secret_access_key=[hidden]`,
		`SENTRY_DSN=https://S3CRET@example.com/1`:                              `SENTRY_DSN=[hidden]`,
		`hvs.S3CRETS3CRETS3CRETS3CRET is refused`:                              `[hidden] is refused`,
		`AKIAIOSFODNN7EXAMPLE is refused`:                                      `[hidden] is refused`,
		`GET /check?key=S3CRET HTTP/1.1`:                                       `GET /check?[hidden] HTTP/1.1`,
		// what is no secret stays
		`the service refused the key: check the key and its plan`: `the service refused the key: check the key and its plan`,
		`the store has no such secret: check its name`:            `the store has no such secret: check its name`,
		`dial tcp 192.0.2.1:443: connect: connection refused`:     `dial tcp 192.0.2.1:443: connect: connection refused`,
		`lookup redis-1 on [2001:db8::1]:53: no such host`:        `lookup redis-1 on [2001:db8::1]:53: no such host`,
		`open /run/secrets/key: permission denied`:                `open /run/secrets/key: permission denied`,
		`is the key right? see https://example.com/a`:             `is the key right? see https://example.com/a`,
	} {
		if got := Redact(text); got != want {
			t.Errorf("%q\n got %q\nwant %q", text, got, want)
		}
	}
}

// FuzzRedact proves that a secret in a URL or a pair does not survive, whatever stands around it, and that what leaves is text.
func FuzzRedact(f *testing.F) {
	f.Add("a ", " b")
	f.Add("https://", "?x=y")
	f.Add("\"", "\xff@")
	f.Fuzz(func(t *testing.T, before, after string) {
		const secret = "Zq9SecretZq9"
		if strings.Contains(before+after, secret) || len(before)+len(after) > maxText {
			return
		}
		for _, text := range []string{"https://u:" + secret + "@h/", "https://h/p?k=" + secret, " password=" + secret, " Bearer " + secret} {
			got := Options{Scrub: func(s string) string { return s }}.scrub(before+" "+text+" "+after, maxText)
			if strings.Contains(got, secret) {
				t.Errorf("%q leaves %q", before+" "+text+" "+after, got)
			}
			if !utf8.ValidString(got) || len(got) > maxText+len("…") {
				t.Errorf("%q", got)
			}
		}
	})
}
