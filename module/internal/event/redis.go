package event

import "time"

// RedisAway reports that Redis is unavailable, and why. It may be called repeatedly.
func (e *Emitter) RedisAway(why string) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.redisAway.IsZero() {
		e.redisAway = time.Now()
		e.emit(RedisAway, map[string]any{"why": why})
	}
}

// RedisBack reports that Redis answers. It emits RedisBack only after RedisAway.
func (e *Emitter) RedisBack() {
	e.mu.Lock()
	defer e.mu.Unlock()
	if !e.redisAway.IsZero() {
		e.emit(RedisBack, map[string]any{"after": seconds(e.redisAway)})
		e.redisAway = time.Time{}
	}
}
