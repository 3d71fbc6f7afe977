package redis

import (
	"context"
	_ "embed" // the scripts
	"errors"
	"fmt"
	"regexp"
	"time"

	goredis "github.com/redis/go-redis/v9"

	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/internal/feed"
)

// The last good copy of a list is a text, which a hash describes; the text of each version has a key of
// its own, so that a reader never sees a mixture. A list may take megabytes: its text goes over the
// connection in pieces, each within Timeout, so that Redis is not taken for dead.
var (
	//go:embed listclaim.lua
	listClaimText string
	//go:embed liststore.lua
	listStoreText string

	claimingList = goredis.NewScript(listClaimText)
	storingList  = goredis.NewScript(listStoreText)
)

// listPiece is how much goes in one exchange: over a connection that was idle, three round trips.
const listPiece = 64 << 10

var errListGone = errors.New("the copy of the list is gone from redis")

// validVersion is what a version looks like: it becomes part of a key.
var validVersion = regexp.MustCompile(`^[0-9a-f]{1,64}$`)

func (c *Client) listKey(list string) string       { return c.key("{list:" + list + "}") }
func (c *Client) leaseKey(list string) string      { return c.listKey(list) + ":lease" }
func (c *Client) textKey(l, version string) string { return c.listKey(l) + ":" + version }

// ClaimList returns what is shared of a list, and makes the holder the one who fetches it unless the
// copy is younger than young. The same holder may claim again, which renews the lease.
func (c *Client) ClaimList(
	ctx context.Context, list, holder string, young, lease time.Duration,
) (claim feed.SharedClaim, err error) {
	answer, err := c.run(ctx, claimingList, []string{c.listKey(list), c.leaseKey(list)},
		holder, lease.Milliseconds(), young.Milliseconds())
	if err != nil {
		return claim, err
	}
	values, _ := answer.([]any)
	if len(values) != 3 {
		return claim, fmt.Errorf("redis answered the claim of a list with %d values", len(values))
	}
	if version, _ := values[0].(string); validVersion.MatchString(version) {
		claim.Version = version
		claim.Age = time.Duration(integer(values[1])) * time.Millisecond
	}
	switch follows := values[2].(type) {
	case int64:
		claim.Pause = max(time.Duration(follows)*time.Millisecond, time.Millisecond)
	case string:
		claim.Mine = follows == "ask"
	}
	return claim, nil
}

// LoadList returns the text of a copy.
func (c *Client) LoadList(ctx context.Context, list, version string) ([]byte, error) {
	key := c.textKey(list, version)
	var size int64
	err := c.do(ctx, func(ctx context.Context) (err error) {
		size, err = c.rdb.StrLen(ctx, key).Result()
		return err
	})
	switch {
	case err != nil:
		return nil, err
	case size == 0:
		return nil, errListGone
	case size > feed.MaxShared:
		return nil, fmt.Errorf("the copy of the list in redis has %d bytes, more than %d", size, feed.MaxShared)
	}
	text := make([]byte, 0, size)
	for at := int64(0); at < size; at += listPiece {
		err := c.do(ctx, func(ctx context.Context) error {
			piece, err := c.rdb.GetRange(ctx, key, at, min(at+listPiece, size)-1).Result()
			text = append(text, piece...)
			return err
		})
		if err != nil {
			return nil, err
		}
	}
	return text, nil
}

// StoreList shares a copy and releases the lease. Without a text, it confirms the copy with that
// version, which is an error if its text is gone. The text of the version before is deleted.
func (c *Client) StoreList(
	ctx context.Context, list, holder, version, before string, text []byte, keep time.Duration,
) error {
	key := c.textKey(list, version)
	for at := 0; at < len(text); at += listPiece {
		piece := text[at:min(at+listPiece, len(text))]
		err := c.do(ctx, func(ctx context.Context) error {
			if at == 0 {
				return c.rdb.Set(ctx, key, piece, keep).Err()
			}
			return c.rdb.Append(ctx, key, string(piece)).Err()
		})
		if err != nil {
			return err
		}
	}
	old := key
	if before != "" {
		old = c.textKey(list, before)
	}
	whole, err := c.run(ctx, storingList, []string{c.listKey(list), c.leaseKey(list), key, old},
		holder, version, keep.Milliseconds())
	if err == nil && integer(whole) == 0 {
		err = errListGone
	}
	return err
}

// ReleaseList releases the lease without a copy. Nobody fetches the list before pause has passed; if it
// is 0, any instance may at once.
func (c *Client) ReleaseList(ctx context.Context, list, holder string, pause time.Duration) error {
	_, err := c.run(ctx, failing, []string{c.leaseKey(list)}, holder, pause.Milliseconds())
	return err
}
