package testenv

import (
	"context"
	"os"
	"os/exec"
	"runtime"
)

// process is a program that was started here.
type process struct {
	cmd  *exec.Cmd
	over chan struct{} // closed when it has ended
}

// startProcess starts a program in the folder dir. What it prints is appended to the file at log.
func startProcess(dir, log, path string, args ...string) (*process, error) {
	// Not with the test's context: that ends before the test's clean-up, which may still need the server.
	cmd := exec.CommandContext(context.Background(), path, args...) //nolint:gosec // the tests say what is run
	cmd.Dir, cmd.SysProcAttr = dir, dieWithUs()
	return launch(cmd, log)
}

// launch starts a command. What it prints is appended to the file at log.
func launch(cmd *exec.Cmd, log string) (*process, error) {
	out, err := os.OpenFile(log, os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o600)
	if err != nil {
		return nil, err
	}
	defer out.Close() // the process has its own handle
	cmd.Stdout, cmd.Stderr = out, out
	p := &process{cmd: cmd, over: make(chan struct{})}
	started := make(chan error)
	go func() {
		// Linux ends the process with the thread that started it, not with the whole of us: that thread has to stay.
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		err := cmd.Start()
		started <- err
		if err == nil {
			_ = cmd.Wait() // how it ended is in its log
		}
		close(p.over)
	}()
	if err := <-started; err != nil {
		return nil, err
	}
	return p, nil
}

// kill ends the process at once, as a crash would, and waits for it.
func (p *process) kill() {
	_ = p.cmd.Process.Kill() // may have ended by itself
	<-p.over
}

func (p *process) ended() bool {
	select {
	case <-p.over:
		return true
	default:
		return false
	}
}
