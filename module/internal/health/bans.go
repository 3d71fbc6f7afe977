package health

import "time"

// Bans are the bans that were made at run time.
type Bans struct {
	By    map[string]int // those in force, by who made them: operator, rule or violation
	Burst *BanBurst      // nil: rules and violations ban
}

// BanBurst is why rules and violations ban nobody for now.
type BanBurst struct {
	Since     time.Time
	Offenders int // networks of the ten minutes before with clients that were to be banned
	Networks  int // all of them
}

// CureOfBanBurst says what to do about a burst of bans.
const CureOfBanBurst = "look at what was banned and why (`caddy ip-reputation bans`): if a rule is mistaken or one proxy stands " +
	"for many visitors, mend that and `unban`; if it is an attack, its requests are refused all the same, and a larger " +
	"`burst` in the global option `bans` lets rules go on"

// bans checks that rules and violations may ban.
func (r *Report) bans(b Bans) {
	if b.Burst == nil {
		return
	}
	const text = "so many clients come under bans at once that rules and violations ban nobody for now"
	r.check("configuration:bans", Check{Type: "component", Value: b.Burst.Offenders, Unit: "networks", Since: b.Burst.Since},
		warning(BansStopped, "", "%s: %s", text, CureOfBanBurst).
			detail("%s: %d of %d networks of ten minutes: %s", text, b.Burst.Offenders, b.Burst.Networks, CureOfBanBurst))
}
