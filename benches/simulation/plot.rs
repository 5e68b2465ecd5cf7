//! A few lines as SVG: time to the right, percent upwards.

use std::fmt::Write;

const WIDTH: f64 = 720.0;
const HEIGHT: f64 = 360.0;
const LEFT: f64 = 60.0;
const TOP: f64 = 40.0;
const COLOURS: [&str; 4] = ["#1f77b4", "#d62728", "#2ca02c", "#9467bd"];

/// Each curve with its name; y from 0 to 100.
pub fn svg(title: &str, x_axis: &str, y_axis: &str, curves: &[(String, Vec<(f64, f64)>)]) -> String {
    let most = curves.iter().flat_map(|(_, points)| points).map(|point| point.0).fold(1.0, f64::max);
    let (plot_width, plot_height) = (WIDTH - LEFT - 20.0, HEIGHT - TOP - 50.0);
    let x = |value: f64| LEFT + value / most * plot_width;
    let y = |value: f64| TOP + plot_height - value / 100.0 * plot_height;
    let mut out = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {HEIGHT}\" font-family=\"sans-serif\" \
         font-size=\"12\">\n<rect width=\"100%\" height=\"100%\" fill=\"white\"/>\n\
         <text x=\"{LEFT}\" y=\"24\" font-size=\"15\">{title}</text>\n"
    );
    for percent in [0.0, 25.0, 50.0, 75.0, 100.0] {
        let (at, right) = (y(percent), WIDTH - 20.0);
        let _ = writeln!(
            out,
            "<path d=\"M{LEFT} {at:.1}H{right}\" stroke=\"#ddd\"/><text x=\"{}\" y=\"{:.1}\" text-anchor=\"end\">{percent}</text>",
            LEFT - 6.0,
            at + 4.0
        );
    }
    let step = [0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0, 30.0].into_iter().find(|step| most / step <= 12.0).unwrap_or(60.0);
    for tick in 0..=(most / step) as usize {
        let value = tick as f64 * step;
        let _ = writeln!(
            out,
            "<text x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"middle\">{}</text>",
            x(value),
            y(0.0) + 18.0,
            (value * 10.0).round() / 10.0
        );
    }
    let _ = writeln!(out, "<text x=\"{}\" y=\"{}\" text-anchor=\"end\">{x_axis}</text>", WIDTH - 20.0, HEIGHT - 12.0);
    let _ = writeln!(out, "<text x=\"{}\" y=\"{}\">{y_axis}</text>", 8.0, TOP - 6.0);
    for (index, (name, points)) in curves.iter().enumerate() {
        let colour = COLOURS[index % COLOURS.len()];
        let path: Vec<String> = points.iter().map(|(a, b)| format!("{:.1},{:.1}", x(*a), y(*b))).collect();
        let line = path.join(" ");
        let _ = writeln!(out, "<polyline points=\"{line}\" fill=\"none\" stroke=\"{colour}\" stroke-width=\"2\"/>");
        let at = y(0.0) - 12.0 - 18.0 * index as f64;
        let right = WIDTH - 30.0;
        let _ = writeln!(out, "<text x=\"{right}\" y=\"{at:.1}\" fill=\"{colour}\" text-anchor=\"end\">{name}</text>");
    }
    out + "</svg>\n"
}
