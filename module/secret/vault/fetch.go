package vault

import (
	"context"
	"encoding/json"
	"fmt"
	"time"

	"github.com/hashicorp/vault/api"

	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/reputation"
	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/secret/internal/guest"
)

// Fetch reads the secret, and logs in first if necessary. See reputation.SecretStore for the
// errors. Concurrent calls run one after the other.
func (v *Vault) Fetch(ctx context.Context) (reputation.Secret, error) {
	var secret reputation.Secret
	answer, err := v.session.read(ctx, v.mount+"/data/"+v.path, v.Version)
	if err == nil {
		secret, err = v.parse(answer)
	}
	if err != nil {
		return reputation.Secret{}, fmt.Errorf("fetching %s from Vault: %w", v.name, err)
	}
	return secret, nil
}

// parse returns the value and its expiry from an answer of the engine. The client's own parser is
// not used, since its errors quote the stored data.
func (v *Vault) parse(answer *api.Secret) (reputation.Secret, error) {
	metadata, _ := answer.Data["metadata"].(map[string]any)
	stored, ok := answer.Data["data"].(map[string]any)
	if !ok {
		if answer.Data["data"] == nil && metadata != nil {
			return reputation.Secret{}, fmt.Errorf("%w: this version was deleted: store a new one, or undelete it",
				reputation.ErrUnknown)
		}
		return reputation.Secret{}, fmt.Errorf("%w: check that %s is a key-value engine of version 2",
			reputation.ErrBadAnswer, v.mount)
	}
	value, err := guest.Member(stored, v.field)
	if err != nil {
		return reputation.Secret{}, err
	}
	secret := reputation.Secret{Value: value, TTL: time.Duration(max(answer.LeaseDuration, 0)) * time.Second}
	deleted, _ := metadata["deletion_time"].(string)
	if at, err := time.Parse(time.RFC3339, deleted); err == nil {
		secret.Expires = at.UTC()
	}
	custom, _ := metadata["custom_metadata"].(map[string]any)
	if text, ok := custom["expires"].(string); ok {
		end, ok := guest.ParseExpiry(text)
		if !ok {
			v.session.warned.Do(func() {
				guest.Warn("the custom metadata `expires` of the secret cannot be read", "secret_name", v.name,
					"cure", guest.ExpiryForms)
			})
		}
		secret.Expires = guest.Earlier(secret.Expires, end)
	}
	return secret, nil
}

// seconds returns a number of seconds in an answer as a duration.
func seconds(value any) time.Duration {
	number, _ := value.(json.Number)
	n, _ := number.Int64()
	return time.Duration(n) * time.Second
}
