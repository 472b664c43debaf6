package main

import (
	"cmp"
	"context"
	"flag"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"time"

	"github.com/osm-edge/osm/demo/bookstore"
)

// run parses the command line and runs the role that it names.
func run(ctx context.Context, log *slog.Logger, args []string) error {
	config := bookstore.Config{Listen: new(net.ListenConfig).Listen, Client: &http.Client{}, Now: time.Now, Log: log}
	flags := flag.NewFlagSet("bookstore", flag.ContinueOnError)
	role := flags.String("role", "", fmt.Sprintf("one of %v", bookstore.Roles()))
	flags.StringVar(&config.Identity, "identity", "", "name of the process (default: its role)")
	flags.StringVar(&config.ServiceAddress, "service-address", ":14001", "where a bookstore or bookwarehouse serves")
	flags.StringVar(&config.PageAddress, "page-address", ":8080", "where the web page, /raw and the probes are served")
	flags.StringVar(&config.StoreURL, "bookstore", "http://bookstore.bookstore:14001", "where a bookbuyer or bookthief shops")
	flags.StringVar(&config.WarehouseURL, "bookwarehouse", "http://bookwarehouse.bookwarehouse:14001", "where a bookstore restocks")
	flags.DurationVar(&config.Interval, "interval", time.Second, "time between two purchases")
	flags.DurationVar(&config.Timeout, "timeout", 5*time.Second, "timeout of one request")
	flags.DurationVar(&config.Drain, "drain", 3*time.Second, "time to keep serving after SIGTERM")
	if err := flags.Parse(args); err != nil {
		return err
	}
	config.Role = bookstore.Role(*role)
	config.Identity = cmp.Or(config.Identity, *role)
	return bookstore.Run(ctx, config)
}
