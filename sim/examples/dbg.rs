#![allow(missing_docs)]
use upbeat_sim::machine::*; use upbeat_sim::settings::*; use upbeat_sim::workloads::*; use upbeat_sim::*; use upbeat_sim::policy::*;
fn main(){ 
 for (m,workers) in [("2x32",32usize),("4x28",112),("8x32",128)]{ let machine=Machine::preset(m).unwrap(); for wl in [Workload::Tree,Workload::MemoryTree,Workload::Search,Workload::Layers,Workload::PlacedLayers] { 
  let p=wl.program(Shape{workers:workers as u32,nodes:machine.nodes,seed:5});
  let tt=upbeat_sim::program::walk(&*p); println!("{} {m} {workers} bound {:.1}",wl.name(),100.*tt.ns as f64/workers as f64/(tt.span.max(tt.ns/workers as u64)) as f64);
  for (iname,idling) in [("today",Idling::TODAY),("spin",Idling::SPIN)]{ print!("  {iname:<6}");
  for (name,s) in CONFIGURATIONS { 
  let o=simulate(&*p,Plan{machine:&machine,workers,idling,seed:7},&mut Always(s));
  print!(" {name}:{:.1}/i{:.1}/o{:.1}",100.*o.efficiency(),100.*o.inflated as f64/(o.makespan*o.workers) as f64,100.*o.overhead as f64/(o.makespan*o.workers) as f64); if name=="eager"{print!("[w{} p{} push{} pr{} st{} tb{} mk{}]",o.wakes,o.parks,o.pushed,o.promotions,o.stolen(),o.taken_back,o.makespan);}
 } println!(); }
  print!("  spin  ");
  for pol in Policy::ALL { let s=pol.settings(Settings::TODAY); 
  let t=std::time::Instant::now();
  let o=simulate(&*p,Plan{machine:&machine,workers,idling:pol.idling(&machine,Idling::SPIN),seed:7},&mut Always(s));
  print!(" {}:{:.1}({:.1}M/s)",pol.name(),100.*o.efficiency(),o.events as f64/t.elapsed().as_secs_f64()/1e6);}
  println!();
 }}
}
