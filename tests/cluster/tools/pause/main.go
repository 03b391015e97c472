// Command pause is what holds the namespaces of a pod open: it does nothing until it is told to stop, and reaps the
// processes that a pod with a shared process namespace leaves to it.
package main

import (
	"os"
	"os/signal"
	"syscall"
)

func main() {
	signals := make(chan os.Signal, 8)
	signal.Notify(signals, syscall.SIGTERM, syscall.SIGINT, syscall.SIGCHLD)
	for received := range signals {
		if received != syscall.SIGCHLD {
			return
		}
		reap()
	}
}

// reap collects every child that has ended: one signal may stand for several.
func reap() {
	for {
		id, err := syscall.Wait4(-1, nil, syscall.WNOHANG, nil)
		if err != nil || id <= 0 {
			return
		}
	}
}
