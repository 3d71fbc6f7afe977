package runtime

import (
	"context"
	"time"

	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/internal/crowdsec"
	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/internal/feed"
	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/internal/redis"
	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/internal/runtime/lists"
)

// OpenLists finds or opens the lists of the given specs: see lists.Lists.
func (rt *Runtime) OpenLists(specs []feed.Spec, hashes []string, streams []crowdsec.Config) error {
	return rt.Lists.Open(lists.Options{
		Leases: &rt.Leases, Folder: rt.Folder, Shared: sharedLists{}, Logger: ProcessLogger("lists"),
	}, specs, hashes, streams)
}

// sharedLists shares copies of lists through the Redis of the configuration that serves: lists outlive a reload
// that changes the connection.
type sharedLists struct{}

var _ feed.Shared = sharedLists{}

// redisPatience is how long the first fetches wait for Redis, without which each instance would make them.
const redisPatience = 2 * time.Second

// servingRedis returns the Redis of the configuration that serves.
func servingRedis() (*redis.Client, error) {
	if rt := Serving(); rt != nil && rt.Redis != nil {
		return rt.Redis.Client, nil
	}
	return nil, redis.ErrUnavailable
}

// Await implements feed.Shared. Lists are started a moment before their configuration serves.
func (sharedLists) Await(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, redisPatience)
	defer cancel()
	look := time.NewTicker(10 * time.Millisecond)
	defer look.Stop()
	for {
		if rt := Serving(); rt != nil && (rt.Redis == nil || rt.Redis.Up()) {
			return
		}
		select {
		case <-look.C:
		case <-ctx.Done():
			return
		}
	}
}

// ClaimList implements feed.Shared.
func (sharedLists) ClaimList(
	ctx context.Context, list, holder string, young, lease time.Duration,
) (feed.SharedClaim, error) {
	client, err := servingRedis()
	if err != nil {
		return feed.SharedClaim{}, err
	}
	return client.ClaimList(ctx, list, holder, young, lease)
}

// LoadList implements feed.Shared.
func (sharedLists) LoadList(ctx context.Context, list, version string) ([]byte, error) {
	client, err := servingRedis()
	if err != nil {
		return nil, err
	}
	return client.LoadList(ctx, list, version)
}

// StoreList implements feed.Shared.
func (sharedLists) StoreList(
	ctx context.Context, list, holder, version, before string, text []byte, keep time.Duration,
) error {
	client, err := servingRedis()
	if err != nil {
		return err
	}
	return client.StoreList(ctx, list, holder, version, before, text, keep)
}

// ReleaseList implements feed.Shared.
func (sharedLists) ReleaseList(ctx context.Context, list, holder string, pause time.Duration) error {
	client, err := servingRedis()
	if err != nil {
		return err
	}
	return client.ReleaseList(ctx, list, holder, pause)
}
