package feed

import (
	"cmp"
	"time"
)

// Status is the state of one list, for operators.
type Status struct {
	Name         string    `json:"name"`
	Kind         Kind      `json:"kind"`
	Source       string    `json:"source"` // host or file
	Terms        string    `json:"terms,omitempty"`
	Loaded       bool      `json:"loaded"`
	Entries      int       `json:"entries"`                 // in force
	Lines        int       `json:"lines"`                   // in the source
	Ignored      int       `json:"ignored,omitempty"`       // wrong lines in the source, when it last changed or was last pushed as a whole
	FirstIgnored string    `json:"first_ignored,omitempty"` // what is wrong with the first of them
	Stored       bool      `json:"stored"`                  // a copy is on disk; always false for values
	LastSuccess  time.Time `json:"last_success,omitzero"`   // when the source last confirmed the list
	Changed      time.Time `json:"changed,omitzero"`        // when the contents in force were new
	LastAttempt  time.Time `json:"last_attempt,omitzero"`
	LastResult   string    `json:"last_result,omitempty"`
	LastError    string    `json:"last_error,omitempty"` // of the last attempt, or why there is no copy on disk
	NextRefresh  time.Time `json:"next_refresh,omitzero"`

	// Published is the publisher's own date of the list: zero if there is none, or none that can be believed.
	Published time.Time `json:"published,omitzero"`

	// Shrunk is what was fetched in place of the list in force, and lost too much to be believed yet. Confirm is how
	// many fetches believe it; 0: none.
	Shrunk  *Shrunk `json:"shrunk,omitempty"`
	Confirm int     `json:"confirm,omitempty"`

	// Accepted is a list that lost as much and was believed: the last one since the start, for a week.
	Accepted *Shrunk `json:"accepted,omitempty"`

	// Failures is how many attempts have failed since the last success.
	Failures int `json:"failures,omitempty"`

	// Patience is how long a fetched or pushed list may be without a success until an operator must
	// look after it. It is zero for other lists.
	Patience time.Duration `json:"-"`

	// MaxAge is how old Published may be until an operator must look after the list; 0: there is no limit.
	MaxAge time.Duration `json:"-"`
}

// Old reports whether the publisher's own date says that the list is not kept up any more.
func (s *Status) Old(now time.Time) bool {
	return s.MaxAge > 0 && !s.Published.IsZero() && now.Sub(s.Published) > s.MaxAge
}

func (l *list) status(inForce *ListState) Status {
	l.mu.Lock()
	defer l.mu.Unlock()
	s := Status{
		Name: l.spec.Name, Kind: l.spec.kind(), Source: l.spec.origin(), Terms: l.spec.Terms,
		Loaded: inForce.Loaded, Entries: inForce.Entries,
		Lines: l.st.header.lines, Ignored: l.st.ignored, Stored: l.st.stored,
		LastSuccess: l.st.lastSuccess, LastAttempt: l.st.lastAttempt, Failures: l.st.failures,
		Changed: inForce.Fetched, Published: l.st.header.published(), MaxAge: l.spec.MaxAge,
	}
	if a := l.st.accepted; a != nil && time.Since(a.At) < acceptedShown {
		s.Accepted = a
	}
	if seen := l.st.shrunk; seen.Seen > 0 {
		s.Shrunk, s.Confirm = &seen, *l.spec.Confirm
	}
	if l.st.first != nil {
		s.FirstIgnored = l.st.first.Error()
	}
	if s.Kind == KindPushed {
		s.Patience = pushPatience
	}
	if s.Kind == KindURL {
		s.Patience = max(minPatience, patienceRefreshes*l.spec.Refresh)
		s.NextRefresh = l.st.next
	}
	if err := cmp.Or(l.st.lastErr, l.st.storeErr); err != nil {
		s.LastError = err.Error()
	}
	if !l.st.lastAttempt.IsZero() {
		s.LastResult = l.st.lastResult.String()
	}
	return s
}
