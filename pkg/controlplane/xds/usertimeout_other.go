//go:build !linux

package xds

import "time"

func setUserTimeout(any, time.Duration) {}
