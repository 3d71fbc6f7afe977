package module_test

import "testing"

func TestSmoke(t *testing.T) {
	s := startStandIn(t)
	s.know("203.0.113.10", 100, 60)
	c := newConfig(t)
	c.ask(s)
	a := startApplication(t)
	c.pass(a)
	r := startCaddy(t, c)
	t.Log(r.visit(t, "203.0.113.10"))
	t.Log(r.visit(t, "203.0.113.11"), a.seen()[0].Header)
	p := startProcess(t, func() *config { c := newConfig(t); c.ask(s); return c }())
	t.Log(p.visit(t, "203.0.113.10"))
}
