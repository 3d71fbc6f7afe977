package testenv

import (
	"context"
	"os"
	"os/exec"
	"runtime"
)

// process is a program that this package started.
type process struct {
	cmd  *exec.Cmd
	done chan struct{} // closed when it has ended
}

// startProcess starts a program in the folder dir. Its output is appended to the file at log.
func startProcess(dir, log, path string, args ...string) (*process, error) {
	// The test's context is not used: it ends before the test's clean-up, which may
	// still need the server.
	cmd := exec.CommandContext(context.Background(), path, args...) //nolint:gosec // the arguments come from tests
	cmd.Dir, cmd.SysProcAttr = dir, killWithParent()
	return launch(cmd, log)
}

// launch starts a command. Its output is appended to the file at log.
func launch(cmd *exec.Cmd, log string) (*process, error) {
	out, err := os.OpenFile(log, os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o600)
	if err != nil {
		return nil, err
	}
	defer out.Close() // the process has its own handle
	cmd.Stdout, cmd.Stderr = out, out
	p := &process{cmd: cmd, done: make(chan struct{})}
	started := make(chan error)
	go func() {
		// Linux kills the process when the thread that started it ends: see
		// killWithParent. So that thread must stay.
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		err := cmd.Start()
		started <- err
		if err == nil {
			_ = cmd.Wait() // its log has the reason
		}
		close(p.done)
	}()
	if err := <-started; err != nil {
		return nil, err
	}
	return p, nil
}

// kill kills the process, like a crash, and waits for its end.
func (p *process) kill() {
	_ = p.cmd.Process.Kill() // it may have ended already
	<-p.done
}

func (p *process) ended() bool {
	select {
	case <-p.done:
		return true
	default:
		return false
	}
}
