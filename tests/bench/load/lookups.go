package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"math/rand/v2"
	"strings"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"

	pb "kafka-cache-sidecar/bench/load/kafkacachev1"
)

const unixPrefix = "unix://"

// dial opens one connection; keys are looked up on that one alone, as an application would.
func dial(target string) (*grpc.ClientConn, error) {
	if !strings.HasPrefix(target, unixPrefix) {
		target = "passthrough:///" + target
	}
	return grpc.NewClient(target, grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithDefaultCallOptions(grpc.MaxCallRecvMsgSize(64<<20)))
}

// picker makes the requests of one worker: keys at random, the same ones in every run.
type picker struct {
	random *rand.Rand
	keys   [][]byte
	table  string
	batch  int
	json   bool
}

func (j job) newPicker(number int) *picker {
	return &picker{rand.New(rand.NewPCG(7, uint64(number))), j.keys, j.table, j.batch, j.json}
}

func (p *picker) key() []byte { return p.keys[p.random.IntN(len(p.keys))] }

func (p *picker) get() *pb.GetRequest {
	request := &pb.GetRequest{Table: p.table, Key: p.key()}
	if p.json {
		request.Encoding = pb.Encoding_ENCODING_JSON
	}
	return request
}

func (p *picker) multiGet() *pb.MultiGetRequest {
	keys := make([][]byte, p.batch)
	for at := range keys {
		keys[at] = p.key()
	}
	return &pb.MultiGetRequest{Table: p.table, Keys: keys}
}

func missingOne(response *pb.GetResponse) int {
	if response.GetPresence() == pb.Presence_PRESENCE_FOUND && len(response.GetRecord().GetValue()) > 0 {
		return 0
	}
	return 1
}

func missingMany(response *pb.MultiGetResponse, asked int) int {
	missing := asked
	for _, result := range response.GetResults() {
		if result.GetPresence() == pb.Presence_PRESENCE_FOUND && len(result.GetRecord().GetValue()) > 0 {
			missing--
		}
	}
	return missing
}

// job is one measurement: how many calls are kept in flight, on which keys, for how long.
type job struct {
	client   pb.CacheServiceClient
	keys     [][]byte
	table    string
	batch    int
	json     bool
	inFlight int
	rate     float64
	window   window
}

func lookups(ctx context.Context, args []string) (any, error) {
	var target, table, mode string
	var inFlight, distinct, batch int
	var rate float64
	var json bool
	var length, warmup time.Duration
	options("lookups", args, func(f *flag.FlagSet) {
		f.StringVar(&target, "target", "127.0.0.1:50051", "host:port or unix:///path")
		f.StringVar(&table, "table", "bench", "table")
		f.StringVar(&mode, "mode", "get", "get, stream, multiget or stream-multiget")
		f.IntVar(&inFlight, "in-flight", 1, "calls in flight")
		f.Float64Var(&rate, "rate", 0, "calls a second, whatever they take (get, multiget); 0: in flight")
		f.IntVar(&distinct, "distinct", 1_000_000, "keys to choose from")
		f.BoolVar(&json, "json", false, "ask for values as JSON (get)")
		f.IntVar(&batch, "batch", 100, "keys of a batch")
		f.DurationVar(&length, "length", 3*time.Second, "how long to measure")
		f.DurationVar(&warmup, "warmup", time.Second, "how long to run before")
	})
	conn, err := dial(target)
	if err != nil {
		return nil, err
	}
	defer conn.Close()
	keys := keysOf(distinct)
	// A call that hangs must not hang the run: all end soon after the window does.
	ctx, cancel := context.WithTimeout(ctx, warmup+length+10*time.Second)
	defer cancel()
	work := job{pb.NewCacheServiceClient(conn), keys, table, batch, json, inFlight, rate, newWindow(warmup, length)}
	switch mode {
	case "get":
		return work.unary(ctx, work.getOnce)
	case "multiget":
		return work.unary(ctx, work.multiGetOnce)
	case "stream", "stream-multiget":
		return work.stream(ctx, mode == "stream-multiget")
	}
	return nil, fmt.Errorf("no such mode: %q", mode)
}

type once func(ctx context.Context, picker *picker) (keys, missing int, err error)

func (j job) getOnce(ctx context.Context, picker *picker) (int, int, error) {
	response, err := j.client.Get(ctx, picker.get())
	return 1, missingOne(response), err
}

func (j job) multiGetOnce(ctx context.Context, picker *picker) (int, int, error) {
	response, err := j.client.MultiGet(ctx, picker.multiGet())
	return j.batch, missingMany(response, j.batch), err
}

func (j job) unary(ctx context.Context, call once) (any, error) {
	if j.rate > 0 {
		return j.paced(ctx, call)
	}
	workers := make([]worker, j.inFlight)
	var group errgroup.Group
	for number := range workers {
		group.Go(func() error {
			picker := j.newPicker(number)
			for {
				sent := time.Now()
				keys, missing, err := call(ctx, picker)
				if err != nil {
					return err
				}
				if !workers[number].note(j.window, sent, keys, missing) {
					return nil
				}
			}
		})
	}
	if err := group.Wait(); err != nil {
		return nil, err
	}
	return together(workers, j.window), nil
}

// paced makes calls at a rate; each counts from when it was due, however late it began.
func (j job) paced(ctx context.Context, call once) (any, error) {
	var all worker
	var mutex sync.Mutex
	var group errgroup.Group
	every := time.Duration(float64(time.Second) / j.rate)
	for due, number := time.Now(), 0; due.Before(j.window.end); due, number = due.Add(every), number+1 {
		time.Sleep(time.Until(due))
		group.Go(func() error {
			keys, missing, err := call(ctx, j.newPicker(number))
			mutex.Lock()
			defer mutex.Unlock()
			all.note(j.window, due, keys, missing)
			return err
		})
	}
	err := group.Wait()
	return together([]worker{all}, j.window), err
}

// stream keeps lookups in flight on one stream: each reply sends the next request.
func (j job) stream(ctx context.Context, multi bool) (any, error) {
	stream, err := j.client.Lookup(ctx)
	if err != nil {
		return nil, err
	}
	picker := j.newPicker(0)
	sent := make([]time.Time, j.inFlight)
	send := func(id uint64) error {
		request := &pb.LookupRequest{Id: id}
		if multi {
			request.Request = &pb.LookupRequest_MultiGet{MultiGet: picker.multiGet()}
		} else {
			request.Request = &pb.LookupRequest_Get{Get: picker.get()}
		}
		sent[id] = time.Now()
		return stream.Send(request)
	}
	for id := range sent {
		if err := send(uint64(id)); err != nil {
			return nil, err
		}
	}
	all := make([]worker, 1)
	for {
		response, err := stream.Recv()
		if err != nil {
			return nil, err
		}
		id := response.GetId()
		if id >= uint64(len(sent)) {
			return nil, fmt.Errorf("reply to %d, which was not asked", id)
		}
		keys, missing, err := j.answer(response)
		if err != nil {
			return nil, err
		}
		if !all[0].note(j.window, sent[id], keys, missing) {
			return together(all, j.window), nil
		}
		if err := send(id); err != nil {
			return nil, err
		}
	}
}

func (j job) answer(response *pb.LookupResponse) (keys, missing int, err error) {
	switch outcome := response.GetOutcome().(type) {
	case *pb.LookupResponse_Get:
		return 1, missingOne(outcome.Get), nil
	case *pb.LookupResponse_MultiGet:
		return j.batch, missingMany(outcome.MultiGet, j.batch), nil
	}
	return 0, 0, errors.New("lookup failed: " + response.GetError().GetMessage())
}
