// Command load makes the load of tests/bench and measures it.
//
//	load produce   writes records with a fixed seed to a topic, as fast as it can or at a rate
//	load consume   reads a topic into a Go map with franz-go, from its start to its high watermark
//	load lookups   looks keys up over gRPC: unary, on a stream, or in batches
//	load redis     does the like against Redis
//	load visible   measures how long after its acknowledgement an update is seen by a lookup
//	load memory    measures what an entry of a Go map costs
//	load watch     follows a table by hundreds of watches, and compares each with it at the end
//	load scan      reads a table whole, again and again, and checks that every key is met once
//
// Each prints one JSON object on one line and ends by itself. The stubs in
// kafkacachev1 are generated from proto/ by the script "generate" beside this file.
package main

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"syscall"
)

type command func(ctx context.Context, args []string) (any, error)

func main() {
	commands := map[string]command{
		"produce": produce,
		"consume": consume,
		"lookups": lookups,
		"redis":   redisLookups,
		"visible": visible,
		"memory":  memory,
		"watch":   watch,
		"scan":    scan,
	}
	if len(os.Args) < 2 || commands[os.Args[1]] == nil {
		fmt.Fprintln(os.Stderr, "usage: load produce|consume|lookups|redis|visible|memory|watch|scan [options]; -h after a command lists its options")
		os.Exit(2)
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	result, err := commands[os.Args[1]](ctx, os.Args[2:])
	if errors.Is(err, context.Canceled) && ctx.Err() != nil {
		return // it was told to stop
	}
	if err != nil {
		fmt.Fprintf(os.Stderr, "load %s: %v\n", os.Args[1], err)
		os.Exit(1)
	}
	if err := json.NewEncoder(os.Stdout).Encode(result); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

// options parses one command's options; an error in them ends the program.
func options(name string, args []string, declare func(*flag.FlagSet)) {
	flags := flag.NewFlagSet("load "+name, flag.ExitOnError)
	declare(flags)
	_ = flags.Parse(args) // ExitOnError
	if flags.NArg() > 0 {
		fmt.Fprintf(os.Stderr, "load %s: unexpected argument %q\n", name, flags.Arg(0))
		os.Exit(2)
	}
}
