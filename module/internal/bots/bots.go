// Package bots verifies that clients are the crawlers that their user agents claim, by the ranges that the operators
// of the crawlers publish and by reverse DNS.
//
// A user agent alone proves nothing, and neither does an address alone: others may use it. A client that claims to be a
// crawler and is not is fake only where the crawler's row in the table says that a miss proves it. Reverse DNS is asked
// in the background, and remembered for the claim and the address together.
package bots

import (
	"fmt"
	"slices"
)

// Bot is one row of the table: a crawler, or several of one operator that are verified alike.
type Bot struct {
	// Name stands in facts, headers and conditions: see reputation.ValidName.
	Name string

	// Operator is the word for all bots of one operator.
	Operator string

	// Tokens are the words of user agents that claim the bot. Case does not matter. A word that ends with a letter or
	// a digit does not go on with another one, unless a `*` follows it in the table.
	Tokens []string

	// Ranges are the published addresses, nil if there are none. Several bots may share them.
	Ranges *Ranges

	// Names are patterns of the host names that reverse DNS has for the bot. A `*` at the start stands for one or more
	// labels, another one for a part of a label.
	Names []string

	// NamesIPv4 means that only IPv4 addresses have such names.
	NamesIPv4 bool

	// MissProves means that a client which is not in the ranges and has no such name is fake. It is false where the
	// ranges are incomplete or old, where names are not documented, and where others use the token, too.
	MissProves bool

	// Driven means that anybody can make the bot send requests of their choice. It is verified, but no witness in the
	// client's favour, and exempt only under its own name.
	Driven bool

	// Note is a pitfall in a sentence, for the documentation.
	Note string

	// Sure is how sure the row is.
	Sure Sure
}

// Ranges is a list of addresses that an operator publishes.
type Ranges struct {
	// Name is unique among all ranges. It is part of the name of the list.
	Name string

	// URLs are the parts of the list. They have the same form.
	URLs []string

	// Members are the paths to the addresses in a JSON document. Without them, the list is text.
	Members []string
}

// Sure is how sure a row is.
type Sure string

// The degrees.
const (
	Confirmed   Sure = "confirmed"   // by the operator's own documentation or files
	Likely      Sure = "likely"      // by several independent clients
	Unconfirmed Sure = "unconfirmed" // by one client
)

// Outcome is what became of a claim.
type Outcome uint8

// The outcomes.
const (
	// Unclaimed: the user agent claims no bot that is verified here.
	Unclaimed Outcome = iota
	// Verified: the client is the bot.
	Verified
	// Fake: the client is not the bot.
	Fake
	// Unverifiable: there is no way to verify the bot.
	Unverifiable
	// Indeterminate: nothing is proved yet, or a miss proves nothing.
	Indeterminate

	// NumOutcomes is the number of outcomes.
	NumOutcomes = iota
)

var outcomeNames = [NumOutcomes]string{"unclaimed", "verified", "fake", "unverifiable", "indeterminate"}

// String returns the outcome's word.
func (o Outcome) String() string {
	if int(o) < len(outcomeNames) {
		return outcomeNames[o]
	}
	return fmt.Sprintf("Outcome(%d)", uint8(o))
}

// All is the word for all bots of the table.
const All = "all"

// Named returns the bots that a word stands for: a name, an operator or All. An unknown word stands for none.
func Named(word string) []*Bot {
	var found []*Bot
	for i := range table {
		if b := &table[i]; word == All || word == b.Name || word == b.Operator {
			found = append(found, b)
		}
	}
	return found
}

// Check returns an error if a word is not a bot, an operator or All, or if none of its bots can be verified.
func Check(word string) error {
	named := Named(word)
	switch {
	case len(named) == 0:
		return fmt.Errorf("unknown bot %q: use %s, or the name of a bot or an operator in docs/bots.md, such as google",
			word, All)
	case !slices.ContainsFunc(named, (*Bot).Verifiable):
		return fmt.Errorf("bot %q cannot be verified: its operator publishes neither addresses nor host names", word)
	}
	return nil
}

// Verifiable reports whether there is a way to verify the bot.
func (b *Bot) Verifiable() bool { return b.Ranges != nil || len(b.Names) > 0 }
