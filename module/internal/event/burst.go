package event

import "time"

// A burst begins with more than burstMin blocks in a minute, if that is also more than burstFactor
// the average of the hour before. It ends below half of that threshold, so that a fluctuating burst
// is one event.
const (
	burstMin    = 60
	burstFactor = 5

	burstWindow  = time.Minute
	burstHistory = time.Hour
	sampleEvery  = 5 * time.Second // minimum time between samples, which limits their number
)

// sample is the number of requests that were refused up to a time.
type sample struct {
	at                   time.Time
	block, bans, dropped uint64
}

func (s sample) total() uint64 { return s.block + s.bans + s.dropped }

// blocks are the samples of an hour and a minute, the oldest first.
type blocks struct {
	samples []sample
	burst   bool // a burst is going on
}

// CheckBlocks receives the number of requests since the start of the process that were blocked, that
// led to a ban, and that were dropped. It emits BlockBurst when a burst begins. Call it every few
// seconds.
func (e *Emitter) CheckBlocks(blocked, bans, dropped uint64) {
	e.mu.Lock()
	defer e.mu.Unlock()
	now := sample{time.Now(), blocked, bans, dropped}
	b := &e.blocks
	if n := len(b.samples); n > 0 && now.at.Sub(b.samples[n-1].at) < sampleEvery {
		return // during a reload, two configurations call this
	}
	b.samples = append(b.samples, now)
	for now.at.Sub(b.samples[0].at) > burstHistory+burstWindow {
		b.samples = b.samples[1:]
	}
	minute, usual := b.rates(now)
	if minute.at.Sub(b.samples[0].at) < e.History {
		return
	}
	count := now.total() - minute.total()
	threshold := max(burstMin, burstFactor*usual)
	switch n := float64(count); {
	case b.burst && n < threshold/2:
		b.burst = false
	case !b.burst && n > threshold:
		b.burst = true
		e.emit(BlockBurst, map[string]any{
			"count": int(count), "window": "1m", "usual": int(usual),
			"block": int(now.block - minute.block), "ban": int(now.bans - minute.bans),
			"drop": int(now.dropped - minute.dropped),
		})
	}
}

// rates returns the sample at the beginning of the last minute, and the average number of refused
// requests per minute before it.
func (b *blocks) rates(now sample) (minute sample, usual float64) {
	first := b.samples[0]
	minute = first
	for _, s := range b.samples {
		if now.at.Sub(s.at) < burstWindow {
			break
		}
		minute = s
	}
	if minutes := minute.at.Sub(first.at).Minutes(); minutes > 0 {
		usual = float64(minute.total()-first.total()) / minutes
	}
	return minute, usual
}

// BanBurst emits that rules and violations ban nobody for now, since clients of so many of the recent networks were to be
// banned.
func (e *Emitter) BanBurst(offenders, networks int) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.emit(BanBurst, map[string]any{"count": offenders, "of": networks})
}
