// Command pause holds a pod's namespaces open: it sleeps until it is told to end and reaps orphans of a shared process namespace.
package main

import (
	"os"
	"os/signal"
	"syscall"
)

func main() {
	signals := make(chan os.Signal, 16)
	signal.Notify(signals, syscall.SIGINT, syscall.SIGTERM, syscall.SIGCHLD)
	for received := range signals {
		if received != syscall.SIGCHLD {
			return
		}
		// Signals of the same kind merge, so one SIGCHLD may stand for many children.
		for child, err := syscall.Wait4(-1, nil, syscall.WNOHANG, nil); err == syscall.EINTR || err == nil && child > 0; child, err = syscall.Wait4(-1, nil, syscall.WNOHANG, nil) {
		}
	}
}
