package lookup

import (
	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/internal/record"
	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/internal/score"
	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/reputation"
)

// scratch is the working space of one look-up. It is reused: it is too large for the stack of every
// request, and the record is passed to the Memory interface by reference, so a local one would be
// allocated each time.
type scratch struct {
	record   record.Record
	evidence []score.Evidence
	reasons  []reputation.Reason // of what settles an address

	missing  []*score.Source    // that could change the score
	verdict  reputation.Verdict // without them
	prospect Prospect           // with them
}

// newScratch has room for all the evidence there can be.
func (e *Engine) newScratch() *scratch {
	most := len(e.sources) + 1 // with a claim
	for i := range e.Meanings {
		if !e.Meanings[i].Part {
			most++
		}
	}
	if e.Own != nil {
		most += e.Own.Most()
	}
	return &scratch{evidence: make([]score.Evidence, 0, most)}
}
