package event

import "time"

// A burst is more than burstLeast blocks in a minute, and more than burstTimes as many as in an average minute of the hour
// before. It ends below half of that threshold, so that a wavering burst is one event.
const (
	burstLeast = 60
	burstTimes = 5

	burstWindow  = time.Minute
	burstHistory = time.Hour
	sampleEvery  = 5 * time.Second // the shortest distance of samples, which bounds their number
)

// sample is how many requests were blocked and dropped until a time.
type sample struct {
	at             time.Time
	block, dropped uint64
}

func (s sample) total() uint64 { return s.block + s.dropped }

// blocks are the samples of an hour and a minute, the oldest first.
type blocks struct {
	samples []sample
	burst   bool // BlockBurst was emitted, and the burst goes on
}

// CheckBlocks takes how many requests were blocked and dropped since the process began, and emits BlockBurst when a burst
// begins. It should be called every few seconds.
func (e *Emitter) CheckBlocks(blocked, dropped uint64) {
	e.mu.Lock()
	defer e.mu.Unlock()
	now := sample{time.Now(), blocked, dropped}
	b := &e.blocks
	if n := len(b.samples); n > 0 && now.at.Sub(b.samples[n-1].at) < sampleEvery {
		return // during a reload, two configurations call it
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
	threshold := max(burstLeast, burstTimes*usual)
	switch n := float64(count); {
	case b.burst && n < threshold/2:
		b.burst = false
	case !b.burst && n > threshold:
		b.burst = true
		e.emit(BlockBurst, map[string]any{
			"count": int(count), "window": "1m", "usual": int(usual),
			"block": int(now.block - minute.block), "drop": int(now.dropped - minute.dropped),
		})
	}
}

// rates returns the sample at which the last minute began, and how many requests were blocked and dropped in an average
// minute before.
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
