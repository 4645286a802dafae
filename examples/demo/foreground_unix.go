//go:build unix

package main

import (
	"errors"
	"os"
	"os/exec"
	"os/signal"
	"syscall"

	"golang.org/x/sys/unix"
)

// inForeground marks the process that has the terminal for itself.
const inForeground = "TRIBUTARY_DEMO_FOREGROUND"

// foreground runs the demo once more in a process group that has the terminal, and returns its status. ctrl-C is then the
// demo's alone: make, which would end with an error, doesn't hear of it. It is false where there is no terminal, or where this
// is that process.
func foreground() (status int, done bool) {
	terminal := int(os.Stdin.Fd())
	before, err := unix.IoctlGetInt(terminal, unix.TIOCGPGRP)
	if err != nil || os.Getenv(inForeground) != "" || before != unix.Getpgrp() {
		return 0, false
	}
	itself, err := os.Executable()
	if err != nil {
		return 0, false
	}
	again := exec.Command(itself, os.Args[1:]...)
	again.Env = append(os.Environ(), inForeground+"=1")
	again.Stdin, again.Stdout, again.Stderr = os.Stdin, os.Stdout, os.Stderr
	again.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Foreground: true, Ctty: terminal}
	if err := again.Start(); err != nil {
		return 0, false
	}
	signals := make(chan os.Signal, 1)
	signal.Notify(signals, os.Interrupt, syscall.SIGTERM)
	go func() {
		for s := range signals {
			_ = again.Process.Signal(s)
		}
	}()
	err = again.Wait()
	signal.Ignore(syscall.SIGTTOU) // which taking the terminal back would bring
	_ = unix.IoctlSetPointerInt(terminal, unix.TIOCSPGRP, before)
	if exit, ok := errors.AsType[*exec.ExitError](err); ok && exit.ExitCode() > 0 {
		return exit.ExitCode(), true
	}
	if err != nil {
		return 1, true
	}
	return 0, true
}
