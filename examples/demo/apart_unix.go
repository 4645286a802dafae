//go:build unix

package main

import "syscall"

// apart puts a process into a group of its own, so that the terminal's ctrl-C does not reach it.
func apart() *syscall.SysProcAttr { return &syscall.SysProcAttr{Setpgid: true} }
