// Sends rows of a Go pipeline to Mixpanel, through the sink's expansion service.
package main

import (
	"context"
	"flag"
	"fmt"
	"log"
	"reflect"

	"github.com/apache/beam/sdks/v2/go/pkg/beam"
	"github.com/apache/beam/sdks/v2/go/pkg/beam/core/typex"
	"github.com/apache/beam/sdks/v2/go/pkg/beam/transforms/xlang/schema"
	"github.com/apache/beam/sdks/v2/go/pkg/beam/x/beamx"
)

var (
	expansion = flag.String("expansion", "localhost:8097", "Address of the expansion service.")
	host      = flag.String("mixpanel", "", "Base URL instead of Mixpanel's.")
	count     = flag.Int("count", 1000, "How many orders to send.")
)

// Order is a row of this pipeline's own.
type Order struct {
	Event  string  `beam:"event_name"`
	User   string  `beam:"user_id"`
	At     int64   `beam:"created_at"`
	Amount float64 `beam:"amount"`
}

// ErrorHandling names the output of failed records.
type ErrorHandling struct {
	Output string `beam:"output"`
}

// Config holds the sink's settings that are used here; docs/cross-language.md has all.
type Config struct {
	Mapping       string        `beam:"mapping"`
	APISecret     string        `beam:"api_secret"`
	Endpoint      *string       `beam:"endpoint"`
	Quota         string        `beam:"quota"`
	ErrorHandling ErrorHandling `beam:"error_handling"`
}

// Rows of another language come as structs without a name of their own, which these are other
// names for; their fields are called as Beam calls them.
type (
	// Failed is a failed record.
	Failed = struct {
		Element     *string `beam:"element"`
		Msg         string  `beam:"msg"`
		Reason      string  `beam:"reason"`
		Field       *string `beam:"field"`
		Destination *string `beam:"destination"`
		File        *string `beam:"file"`
		Row         *int64  `beam:"row"`
		Http_status *int64  `beam:"http_status"`
		Attempts    int64   `beam:"attempts"`
		Insert_id   *string `beam:"insert_id"`
	}
	// Receipt is one request.
	Receipt = struct {
		Destination string  `beam:"destination"`
		Lane        int64   `beam:"lane"`
		Accepted    int64   `beam:"accepted"`
		Failed      int64   `beam:"failed"`
		Raw_bytes   int64   `beam:"raw_bytes"`
		Sent_bytes  int64   `beam:"sent_bytes"`
		Attempts    int64   `beam:"attempts"`
		Status      int64   `beam:"status"`
		Started     float64 `beam:"started"`
		Seconds     float64 `beam:"seconds"`
	}
)

func init() {
	beam.RegisterType(reflect.TypeOf((*Order)(nil)).Elem())
	beam.RegisterFunction(showFailed)
	beam.RegisterFunction(showReceipt)
}

func showFailed(failed Failed) {
	fmt.Printf("failed: %s: %s\n", failed.Reason, *failed.Element)
}

func showReceipt(receipt Receipt) {
	fmt.Printf("accepted: %d\n", receipt.Accepted)
}

func orders(count int) []Order {
	rows := make([]Order, count)
	for i := range rows {
		rows[i] = Order{"Order", fmt.Sprintf("user-%d", i), 1704067200000 + int64(i), 9.5}
	}
	rows[0].User = "undefined"
	return rows
}

func main() {
	flag.Parse()
	beam.Init()
	pipeline, scope := beam.NewPipelineWithRoot()
	config := Config{
		Mapping:       "{event: event_name, distinct_id: user_id, time: {column: created_at, unit: ms}}",
		APISecret:     "env:MIXPANEL_API_SECRET",
		Quota:         "600/minute",
		ErrorHandling: ErrorHandling{"failed"},
	}
	if *host != "" {
		config.Endpoint = host
	}
	outputs := schema.Transform(scope, config, "beam:schematransform:mixpanel_sink:write:v1",
		schema.Input("input", beam.CreateList(scope, orders(*count))),
		schema.OutputType("failed", typex.New(reflect.TypeOf(Failed{}))),
		schema.OutputType("receipts", typex.New(reflect.TypeOf(Receipt{}))),
		schema.ExpansionAddr(*expansion))
	beam.ParDo0(scope, showFailed, outputs["failed"])
	beam.ParDo0(scope, showReceipt, outputs["receipts"])
	if err := beamx.Run(context.Background(), pipeline); err != nil {
		log.Fatal(err)
	}
}
