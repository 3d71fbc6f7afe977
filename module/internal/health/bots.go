package health

// bots checks whether bots can be verified by their host names.
func (r *Report) bots(b Bots) {
	var w *Warning
	if b.Hijacked {
		w = warning(BotsResolver, "", "the DNS resolver answers for names that do not exist, so that reverse DNS verifies "+
			"no bot: name another one by `verified_bots { resolver ... }`")
	}
	r.check("bots:verified", Check{Type: "component", Value: b.Verified, Unit: "bots"}, w)
}
