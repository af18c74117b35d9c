package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"sync/atomic"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
)

type produced struct {
	Records int64   `json:"records"`
	Seconds float64 `json:"seconds"`
	Rate    float64 `json:"records_per_s"`
}

func produce(ctx context.Context, args []string) (any, error) {
	var servers, topic, compression string
	var records, distinct, valueSize, partitions, rate int
	var seed uint64
	var shuffled, json bool
	options("produce", args, func(f *flag.FlagSet) {
		f.StringVar(&servers, "servers", "127.0.0.1:9092", "bootstrap server")
		f.StringVar(&topic, "topic", "bench", "topic; made, compacted, when it is not there")
		f.StringVar(&compression, "compression", "none", "none or lz4")
		f.IntVar(&records, "records", 2_000_000, "records to write")
		f.IntVar(&distinct, "distinct", 1_000_000, "distinct keys")
		f.IntVar(&valueSize, "value-size", 100, "bytes of a value")
		f.IntVar(&partitions, "partitions", 4, "partitions of a new topic")
		f.IntVar(&rate, "rate", 0, "records a second; 0: as fast as it can")
		f.BoolVar(&shuffled, "shuffled", false, "write the keys in random order, not in turn")
		f.BoolVar(&json, "json", false, "values that are JSON objects")
		f.Uint64Var(&seed, "seed", 1, "seed of keys' order and values")
	})
	codec := kgo.NoCompression()
	if compression == "lz4" {
		codec = kgo.Lz4Compression()
	}
	client, err := kgo.NewClient(
		kgo.SeedBrokers(servers), kgo.DefaultProduceTopic(topic),
		kgo.ProducerBatchCompression(codec), kgo.MaxBufferedRecords(100_000),
	)
	if err != nil {
		return nil, err
	}
	defer client.Close()
	if err := ensureTopic(ctx, client, topic, int32(partitions)); err != nil {
		return nil, err
	}
	made := newData(seed, distinct, valueSize, shuffled)
	made.json = json
	begun := time.Now()
	if err := write(ctx, client, made, records, newPace(rate)); err != nil {
		return nil, err
	}
	took := time.Since(begun).Seconds()
	return produced{int64(records), took, float64(records) / took}, nil
}

func write(ctx context.Context, client *kgo.Client, data *data, records int, pace *pace) error {
	var failed atomic.Pointer[error]
	for range records {
		if err := pace.wait(ctx); err != nil {
			return err
		}
		key, value := data.record()
		client.Produce(ctx, &kgo.Record{Key: key, Value: value}, func(_ *kgo.Record, err error) {
			if err != nil {
				failed.CompareAndSwap(nil, &err)
			}
		})
	}
	if err := client.Flush(ctx); err != nil {
		return err
	}
	if err := failed.Load(); err != nil {
		return fmt.Errorf("a record was not written: %w", *err)
	}
	return nil
}

func ensureTopic(ctx context.Context, client *kgo.Client, topic string, partitions int32) error {
	compact := "compact"
	_, err := kadm.NewClient(client).CreateTopic(
		ctx, partitions, 1, map[string]*string{"cleanup.policy": &compact}, topic)
	if errors.Is(err, kerr.TopicAlreadyExists) {
		return nil
	}
	return err
}

// pace holds a loop to a number of turns a second, in steps of a millisecond.
type pace struct {
	begun time.Time
	rate  int
	turns int
}

func newPace(rate int) *pace { return &pace{time.Now(), rate, 0} }

func (p *pace) wait(ctx context.Context) error {
	p.turns++
	if p.rate <= 0 {
		return ctx.Err()
	}
	for {
		due := int(time.Since(p.begun).Seconds() * float64(p.rate))
		if p.turns <= due {
			return ctx.Err()
		}
		time.Sleep(time.Millisecond)
	}
}
