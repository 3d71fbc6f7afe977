package event

import "time"

// Away reports that Redis does not answer, and why. It may be told so again and again.
func (d *Desk) Away(why string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.redisAway.IsZero() {
		d.redisAway = time.Now()
		d.say(RedisAway, map[string]any{"why": why})
	}
}

// Back reports that Redis answers. It is said only if somebody was told that it did not.
func (d *Desk) Back() {
	d.mu.Lock()
	defer d.mu.Unlock()
	if !d.redisAway.IsZero() {
		d.say(RedisBack, map[string]any{"after": seconds(d.redisAway)})
		d.redisAway = time.Time{}
	}
}
