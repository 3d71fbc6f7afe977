// Package worth says how much an answer of a reputation service about a client is worth, so that a short quota is spent
// where it matters.
package worth

// Bid is what somebody offers for an answer.
type Bid struct {
	// Worth is what the answer is worth, from 0 to 1.
	Worth float64

	// Operator means that an operator asks, who waits for no budget, whatever the answer is worth.
	Operator bool
}

// Client is what is known of a client when it is decided whether services are asked about it.
type Client struct {
	Visits    int     // of the last minutes, with the present one: see Visits
	Percent   float64 // the score by lists and by what this site has seen, with decimals
	Seen      bool    // this site has seen it or its neighbours do something, which may have cost nothing yet
	Fake      bool    // it is not the bot that it claims to be
	Explained bool    // its nature is known, or it is a verified bot
	Important bool    // the site says that the request matters
}

// What an answer about a client is worth, from 0 to 1: the sum of what applies. The steps are far enough apart that one
// more reason outbids those who have none.
const (
	// Everybody begins so. Most clients make one request and never come again: an answer comes too late for that one,
	// and serves no other.
	ofAnybody = .1

	// Clients that come again are those that an answer serves, and abuse is what comes again and again. Visitors do, too:
	// however often they come, it weighs less than the least evidence.
	ofTwo, ofFour, ofEight = .05, .15, .25

	// Somebody there did something that costs nothing yet, such as to ask for a page that is missing.
	ofSomething = .15

	// Lists or violations speak against it, and an answer may decide. From ten points on, abuse is ten times as likely as
	// that of anybody.
	OfEvidence, ofMuchEvidence = .3, .5 // the first also if another service has spoken against it

	// The site knows which requests are worth knowing more, such as log-ins.
	ofImportance = .4

	// Of a relay, a provider of servers or a verified bot, the most important is known. Unless something else speaks for
	// asking, others come first.
	shareOfExplained = .5
)

// The percent from which lists and violations are evidence, and much. Without any, it is 0.99.
const (
	evidencePercent     = 1
	muchEvidencePercent = 9
)

// Worth returns what an answer about the client is worth.
func (c *Client) Worth() float64 {
	w := ofAnybody
	switch {
	case c.Visits >= 8:
		w += ofEight
	case c.Visits >= 4:
		w += ofFour
	case c.Visits >= 2:
		w += ofTwo
	}
	if c.Explained {
		w *= shareOfExplained
	}
	switch {
	case c.Percent >= muchEvidencePercent || c.Fake:
		w += ofMuchEvidence
	case c.Percent >= evidencePercent:
		w += OfEvidence
	case c.Seen:
		w += ofSomething
	}
	if c.Important {
		w += ofImportance
	}
	return min(w, 1)
}
