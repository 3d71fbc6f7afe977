package process

import (
	goruntime "runtime"

	"github.com/caddyserver/caddy/v2"
)

// Booting reports whether a configuration is being loaded into a process that has none. To refuse it would leave the
// sites without a server, and nobody may be there to read why. `caddy validate` is no boot: it starts nothing, and
// somebody reads its answer.
func Booting() bool {
	return caddy.ActiveContext().Context == nil && !validating()
}

// validating reports whether the configuration is being validated only. Modules are not told so; what they can see is
// the function of Caddy that called them.
func validating() bool {
	const validate = "github.com/caddyserver/caddy/v2.Validate"
	callers := make([]uintptr, 512)
	frames := goruntime.CallersFrames(callers[:goruntime.Callers(0, callers)])
	for {
		frame, more := frames.Next()
		if frame.Function == validate {
			return true
		}
		if !more {
			return false
		}
	}
}
