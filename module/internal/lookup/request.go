package lookup

import "github.com/caddy-ip-reputation/caddy-ip-reputation/module/reputation"

// Request is what is known of a request besides the address of its client.
type Request struct {
	// Claim is what became of the client's claim to be a bot.
	Claim Claim

	// Important means that the site wants to know more than usual of who sends the request, such as a
	// log-in.
	Important bool

	// Stakes is what answers can still change for the site. nil stands for everything.
	Stakes Stakes
}

// Stakes is what answers of providers can still change for a site.
type Stakes interface {
	// Open reports whether the site could treat the client in another way than by v once more is known:
	// the score may become any from low to high, and says is what answers can add. It must neither lock
	// nor allocate.
	Open(v *reputation.Verdict, low, high uint8, says reputation.Capabilities) bool
}
