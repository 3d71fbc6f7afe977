package runtime

import (
	"context"

	"github.com/caddy-ip-reputation/caddy-ip-reputation/module/internal/violation"
)

// report queues a violation for the services that take reports. It does not wait.
func (rt *Runtime) report(ctx context.Context, o *Offence, t *violation.Terms, now violation.Result) {
}
