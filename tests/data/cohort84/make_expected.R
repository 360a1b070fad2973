# Repeated-measures ANCOVA and the other group statistics by R, with the conventions of SPSS; see README.md.
# Usage: Rscript tests/data/cohort84/make_expected.R tests/data/cohort84
suppressMessages({library(car);library(afex);library(emmeans);library(psych);library(jsonlite)})
afex_options(check_contrasts=FALSE); emm_options(msg.interaction=FALSE)
OUT <- commandArgs(TRUE)[1]; if (is.na(OUT)) OUT <- "."
M <- c("MFSS","LC","SSCap","SPCap","LS","SCM","TR"); k <- 7
options(contrasts=c("contr.sum","contr.poly"), digits=15)
J <- function(x,f) write(toJSON(x,digits=NA,auto_unbox=TRUE,na="null",pretty=TRUE,dataframe="rows"),f)
wt <- function(x,f){ for(i in seq_along(x)) if(is.numeric(x[[i]])) x[[i]] <- ifelse(is.na(x[[i]]),"n/a",formatC(x[[i]],digits=12,format="g",width=1)); x[is.na(x)] <- "n/a"; write.table(x,f,sep="\t",quote=FALSE,row.names=FALSE)}
rd <- function(f) read.delim(f,na.strings=c("n/a","NA",""),stringsAsFactors=FALSE)

read_cohort <- function(dir, session=NULL, side_rule=c("both","any")){
  side_rule <- match.arg(side_rule)
  p <- rd(file.path(dir,"participants.tsv")); m <- rd(file.path(dir,"muscles.tsv"))
  if(!is.null(m$session_id)) m <- m[m$session_id==session,]
  p$sex <- factor(substr(toupper(p$sex),1,1),levels=c("F","M"))
  if(is.null(p$bmi)) p$bmi <- p$weight/(p$height/100)^2
  ids <- sort(union(unique(m$participant_id), p$participant_id))
  D <- data.frame(participant_id=ids,stringsAsFactors=FALSE); i <- match(ids,p$participant_id)
  D$sex <- p$sex[i]; D$age <- p$age[i]; D$bmi <- p$bmi[i]
  for(q in M){ v <- sapply(c("L","R"),function(h){ s <- m[m$muscle==q & m$hemi==h,]; s$mfi[match(ids,s$participant_id)]})
    v <- matrix(v,ncol=2); D[[q]] <- if(side_rule=="both") (v[,1]+v[,2])/2 else ifelse(rowSums(!is.na(v))==0,NA,rowMeans(v,na.rm=TRUE)) }
  D[rowSums(!is.na(D[M]))>0,]
}
# ---------- repeated-measures ANCOVA: by hand + car ----------
rm_ancova <- function(D, centre=FALSE){
  d <- D[complete.cases(D[c("sex","age","bmi",M)]),]; n <- nrow(d)
  if(centre){ d$age <- d$age-mean(d$age); d$bmi <- d$bmi-mean(d$bmi) }
  Y <- as.matrix(d[M]); fit <- lm(Y~sex+age+bmi,data=d); X <- model.matrix(fit); r <- ncol(X); dfe <- n-r
  C <- contr.poly(k); C <- C %*% diag(1/sqrt(colSums(C^2))); colnames(C) <- NULL     # orthonormal: SPSS default polynomial
  B <- solve(crossprod(X),crossprod(X,Y)); E <- Y-X%*%B; XtXi <- solve(crossprod(X)); p <- k-1
  SE <- t(C)%*%crossprod(E)%*%C; T <- SE
  gg <- sum(diag(T))^2/(p*sum(T^2))
  hf_orig <- min(1,(n*p*gg-2)/(p*(dfe-p*gg))); hf_lec <- min(1,((dfe+1)*p*gg-2)/(p*(dfe-p*gg))); lb <- 1/p
  W <- det(T)/(sum(diag(T))/p)^p; rho <- 1-(2*p^2+p+2)/(6*p*dfe); chi <- -rho*dfe*log(W); f <- p*(p+1)/2-1
  w2 <- (p+2)*(p-1)*(p-2)*(2*p^3+6*p^2+3*p+2)/(288*(p*dfe*rho)^2)
  w2R <- (p+2)*(p-1)*(p-2)*(2*p^3+6*p^2+3*k+2)/(288*(p*dfe*rho)^2) # R/car use 3*p with p=k(7), not k-1(6)
  P1 <- pchisq(chi,f,lower.tail=FALSE); P2 <- pchisq(chi,f+4,lower.tail=FALSE)
  hyp <- list(intercept="(Intercept)",sex="sex1",age="age",bmi="bmi")
  a <- rep(1/sqrt(k),k); sse_b <- sum((E%*%a)^2); sse_w <- sum(diag(T))
  within <- list(); between <- list(); mult <- list()
  for(h in names(hyp)){ L <- as.numeric(colnames(X)==hyp[[h]]); q <- sum(L*(XtXi%*%L)); bh <- L%*%B
    ssb <- sum(bh%*%a)^2/q; Fb <- ssb/(sse_b/dfe)
    between[[h]] <- list(SS=ssb,df1=1,df2=dfe,MS=ssb,F=Fb,p=pf(Fb,1,dfe,lower.tail=FALSE),partial_eta_sq=ssb/(ssb+sse_b))
    H <- crossprod(bh%*%C)/q; ssw <- sum(diag(H)); Fw <- (ssw/p)/(sse_w/(p*dfe))
    corr <- lapply(list(sphericity_assumed=1,greenhouse_geisser=gg,huynh_feldt_original=hf_orig,huynh_feldt_lecoutre=hf_lec,lower_bound=lb),
      function(e) list(epsilon=e,df1=e*p,df2=e*p*dfe,p=pf(Fw,e*p,e*p*dfe,lower.tail=FALSE)))
    within[[if(h=="intercept")"muscle" else paste0("muscle:",h)]] <- list(SS=ssw,F=Fw,partial_eta_sq=ssw/(ssw+sse_w),corrections=corr)
    lam <- Re(eigen(solve(T)%*%H)$values[1]); Fm <- lam*(dfe-p+1)/p
    mult[[if(h=="intercept")"muscle" else paste0("muscle:",h)]] <- list(pillai=lam/(1+lam),wilks=1/(1+lam),hotelling=lam,roy=lam,F=Fm,df1=p,df2=dfe-p+1,p=pf(Fm,p,dfe-p+1,lower.tail=FALSE)) }
  # cross-check against car
  idata <- data.frame(muscle=factor(M,levels=M)); av <- Anova(fit,idata=idata,idesign=~muscle,type=3)
  s <- suppressWarnings(summary(av,multivariate=FALSE)); u <- unclass(s$univariate.tests); pa <- unclass(s$pval.adjustments); st <- unclass(s$sphericity.tests)
  chk <- function(x,y) max(abs(x-y)/pmax(abs(y),1e-300))
  nm <- c("muscle","sex:muscle","age:muscle","bmi:muscle")
  dev <- c(F_within=chk(sapply(within,`[[`,"F"),u[nm,"F value"]),F_between=chk(sapply(between,`[[`,"F"),u[c("(Intercept)","sex","age","bmi"),"F value"]),
    GG=chk(gg,pa["muscle","GG eps"]),HFlecoutre=chk(hf_lec,min(1,pa["muscle","HF eps"])),pGG=chk(sapply(within,function(z) z$corrections$greenhouse_geisser$p),pa[nm,"Pr(>F[GG])"]),
    W=chk(W,st["muscle","Test statistic"]),pW=chk(P1+w2R*(P2-P1),st["muscle","p-value"]))
  # afex
  long <- reshape(d[c("participant_id","sex","age","bmi",M)],direction="long",varying=M,v.names="mfi",timevar="muscle",times=M,idvar="participant_id"); long$muscle <- factor(long$muscle,levels=M)
  ax <- suppressMessages(suppressWarnings(aov_ez("participant_id","mfi",long,between="sex",within="muscle",covariate=c("age","bmi"),factorize=FALSE,type=3,anova_table=list(correction="GG",es="pes"))))
  at <- ax$anova_table; dev <- c(dev,afex_F=chk(c(within$muscle$F,between$sex$F),at[c("muscle","sex"),"F"]),afex_df=chk(c(p*gg,p*dfe*gg),c(at["muscle","num Df"],at["muscle","den Df"])),afex_pes=chk(within$muscle$partial_eta_sq,at["muscle","pes"]))
  # EMMs
  d$avg <- rowMeans(Y); la <- lm(avg~sex+age+bmi,data=d); es <- as.data.frame(emmeans(la,~sex)); pr <- as.data.frame(pairs(emmeans(la,~sex)))
  em <- do.call(rbind,lapply(M,function(q){d$y <- d[[q]]; e <- as.data.frame(emmeans(lm(y~sex+age+bmi,data=d),~1)); data.frame(muscle=q,emmean=e$emmean,SE=e$SE,df=e$df,lower=e$lower.CL,upper=e$upper.CL)}))
  list(n=n,n_F=sum(d$sex=="F"),n_M=sum(d$sex=="M"),covariates_centred=centre,rank_between=r,df_error_between=dfe,df_error_within=p*dfe,SS_error_between=sse_b,SS_error_within=sse_w,
   covariate_means=list(age=mean(d$age),bmi=mean(d$bmi)),
   mauchly=list(W=W,chi2=chi,df=f,p_chi2=P1,p_chi2_second_order=P1+w2*(P2-P1),p_R_car_3p_variant=P1+w2R*(P2-P1)),
   epsilon=list(greenhouse_geisser=gg,huynh_feldt_original=hf_orig,huynh_feldt_lecoutre=hf_lec,lower_bound=lb),
   within=within,multivariate=mult,between=between,
   emm_sex_average=lapply(1:2,function(i) list(sex=as.character(es$sex[i]),emmean=es$emmean[i],SE=es$SE[i],df=es$df[i],lower=es$lower.CL[i],upper=es$upper.CL[i])),
   sex_difference_F_minus_M_average=list(estimate=pr$estimate,SE=pr$SE,df=pr$df,t=pr$t.ratio,p=pr$p.value),
   emm_muscle=em, max_rel_deviation_hand_vs_car_afex=as.list(dev))
}
ancova1 <- function(D,q){ d <- D[complete.cases(D[c("sex","age","bmi",q)]),]; d$y <- d[[q]]; f <- lm(y~sex+age+bmi,data=d); a <- Anova(f,type=3); s <- summary(f)
  e <- as.data.frame(emmeans(f,~sex)); p <- as.data.frame(pairs(emmeans(f,~sex))); sse <- a["Residuals","Sum Sq"]
  data.frame(muscle=q,n=nrow(d),df2=f$df.residual,F_sex=a["sex","F value"],p_sex=a["sex","Pr(>F)"],SS_sex=a["sex","Sum Sq"],SS_error=sse,pes_sex=a["sex","Sum Sq"]/(a["sex","Sum Sq"]+sse),
   F_age=a["age","F value"],p_age=a["age","Pr(>F)"],F_bmi=a["bmi","F value"],p_bmi=a["bmi","Pr(>F)"],F_intercept=a["(Intercept)","F value"],r2=s$r.squared,adj_r2=s$adj.r.squared,
   b_age=coef(f)[["age"]],b_bmi=coef(f)[["bmi"]],emm_F=e$emmean[e$sex=="F"],emm_F_SE=e$SE[e$sex=="F"],emm_M=e$emmean[e$sex=="M"],emm_M_SE=e$SE[e$sex=="M"],
   diff_F_minus_M=p$estimate,diff_SE=p$SE,t=p$t.ratio,mean_age=mean(d$age),mean_bmi=mean(d$bmi)) }
pcor1 <- function(D,q,x,z,listwise=FALSE){ use <- c("sex","age","bmi",if(listwise) M else q); d <- D[complete.cases(D[use]),]; d$s <- as.numeric(d$sex=="M")
  zz <- if(z=="bmi") cbind(d$s,d$bmi) else cbind(d$s,d$age); n <- nrow(d)
  # (i) inverse correlation matrix (ppcor's definition)  (ii) residual-on-residual
  R <- solve(cor(cbind(d[[q]],d[[x]],zz))); r <- -R[1,2]/sqrt(R[1,1]*R[2,2]); rx <- resid(lm(d[[x]]~zz)); ry <- resid(lm(d[[q]]~zz)); stopifnot(abs(cor(rx,ry)-r)<1e-10)
  pr <- psych::partial.r(data.frame(y=d[[q]],x=d[[x]],z1=zz[,1],z2=zz[,2]),1:2,3:4)[1,2]; stopifnot(abs(pr-r)<1e-10)
  df <- n-2-2; t <- r*sqrt(df/(1-r^2)); zt <- atanh(r); se <- 1/sqrt(n-2-3)
  list(row=data.frame(muscle=q,x=x,controlling=paste0("sex,",z),n=n,df=df,r=r,t=t,p=2*pt(-abs(t),df),ci_lower=tanh(zt-qnorm(.975)*se),ci_upper=tanh(zt+qnorm(.975)*se),resid_slope=coef(lm(ry~rx))[[2]]),
       res=data.frame(participant_id=d$participant_id,muscle=q,x=x,resid_x=rx,resid_mfi=ry)) }
ttests <- function(D){ o <- NULL; for(i in 1:6) for(j in (i+1):7){ d <- D[complete.cases(D[M[c(i,j)]]),]; t <- t.test(d[[M[i]]],d[[M[j]]],paired=TRUE); z <- d[[M[i]]]-d[[M[j]]]
  o <- rbind(o,data.frame(muscle_a=M[i],muscle_b=M[j],n=nrow(d),mean_diff=mean(z),sd_diff=sd(z),se_diff=sd(z)/sqrt(nrow(d)),t=t$statistic[[1]],df=t$parameter[[1]],p=t$p.value,ci_lower=t$conf.int[1],ci_upper=t$conf.int[2])) }; o }
cors <- function(D){ o <- NULL; for(i in 1:6) for(j in (i+1):7){ d <- D[complete.cases(D[M[c(i,j)]]),]; t <- cor.test(d[[M[i]]],d[[M[j]]]); o <- rbind(o,data.frame(muscle_a=M[i],muscle_b=M[j],n=nrow(d),r=t$estimate[[1]],t=t$statistic[[1]],df=t$parameter[[1]],p=t$p.value,ci_lower=t$conf.int[1],ci_upper=t$conf.int[2])) }; o }
desc <- function(D) do.call(rbind,lapply(M,function(q){x <- D[[q]]; x <- x[!is.na(x)]; data.frame(muscle=q,n=length(x),mean=mean(x),sd=sd(x),se=sd(x)/sqrt(length(x)),min=min(x),max=max(x))}))
cohort <- function(D,dir,tag,note,resid=FALSE){ dir.create(dir,FALSE,TRUE)
  un <- rm_ancova(D,FALSE); ce <- rm_ancova(D,TRUE); an <- do.call(rbind,lapply(M,function(q) ancova1(D,q)))
  pc <- list();pl <- list();rs <- list(); for(x in c("age","bmi")) for(q in M){ z <- if(x=="age")"bmi" else "age"; a <- pcor1(D,q,x,z); pc[[length(pc)+1]] <- a$row; rs[[length(rs)+1]] <- a$res; pl[[length(pl)+1]] <- pcor1(D,q,x,z,TRUE)$row }
  pc <- do.call(rbind,pc); pl <- do.call(rbind,pl); tt <- ttests(D); cc <- cors(D); de <- desc(D)
  J(list(note=note,n_rows=nrow(D),descriptives=de,rm_ancova_spss_uncentred=un,rm_ancova_centred=ce,ancova_per_muscle=an,partial_correlations=pc,partial_correlations_listwise=pl,paired_t=tt,correlations=cc,
     versions=list(R=R.version.string,car=as.character(packageVersion("car")),afex=as.character(packageVersion("afex")),emmeans=as.character(packageVersion("emmeans")),psych=as.character(packageVersion("psych")))),file.path(dir,paste0(tag,".json")))
  wt(an,file.path(dir,paste0(tag,"_ancova.tsv"))); wt(pc,file.path(dir,paste0(tag,"_partialcorr.tsv"))); wt(tt,file.path(dir,paste0(tag,"_pairedt.tsv"))); wt(cc,file.path(dir,paste0(tag,"_muscorr.tsv")))
  if(resid) wt(do.call(rbind,rs),file.path(dir,paste0(tag,"_residuals.tsv")))
  for(z in list(un,ce)){ m <- z$within$muscle; g <- m$corrections$greenhouse_geisser
   cat(sprintf("%-32s %s n=%d muscle F(%.2f,%.1f)=%.4f p=%.3g | sex F(1,%d)=%.4f p=%.4g diff %.4f+/-%.4f | GG %.5f HF %.5f/%.5f W=%.4f | maxdev %.1e\n",tag,if(z$covariates_centred)"centred  " else "uncentred",z$n,g$df1,g$df2,m$F,g$p,z$df_error_between,z$between$sex$F,z$between$sex$p,z$sex_difference$estimate,z$sex_difference$SE,z$epsilon$greenhouse_geisser,z$epsilon$huynh_feldt_original,z$epsilon$huynh_feldt_lecoutre,z$mauchly$W,max(unlist(z$max_rel_deviation)))) }
}
X <- file.path(OUT,"expected")
cohort(read_cohort(file.path(OUT,"cohort")),X,"cohort","84 complete",TRUE)
